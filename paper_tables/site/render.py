"""Render a study's folder: frame and table file to the contents of all output files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from paper_tables.claims import table as claims_table
from paper_tables.claims.findings import counted
from paper_tables.core.text import plain, tex
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.figures import draw
from paper_tables.figures.forest import effects
from paper_tables.formats import all as write
from paper_tables.formats import printed, provenance
from paper_tables.schema.figures import Forest
from paper_tables.schema.table_file import Spec, read_table_file
from paper_tables.schema.tables import CountTable
from paper_tables.site import mlflow_links, report, reproducibility
from paper_tables.site.default_spec import default_spec
from paper_tables.site.render_cache import Rendered
from paper_tables.tables.grid import Grid, NoData
from paper_tables.tables.holm_family import HolmFamily, cells_of
from paper_tables.tables.labels import Names
from paper_tables.tables.notes import added_seeds
from paper_tables.tables.table import build
from paper_tables.validate.table_file import check

Made = TypeVar("Made")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class StudyTables:
    """A study's tables as cells; `left_out` has the reasons of those that could not be made, by their names."""

    library: StudyFrames
    names: Names
    grids: list[Grid]
    claim_grids: list[Grid]
    claims: list[dict[str, Any]]
    family: HolmFamily
    left_out: dict[str, str]

    def summary(self) -> dict[str, Any]:
        """Return what a terminal shows: the printed tables, the claims, how many of them have which verdict."""
        tables = [printed.write(grid) for grid in [*self.grids, *self.claim_grids]]
        return {"printed": tables, "claims": self.claims, "verdicts": counted(self.claims)}


def study_tables(folder: Path, spec_file: Path | None) -> StudyTables:
    """Return the tables and claims of a study's folder, without figures. Raises TableError."""
    library = StudyFrames(folder, load_frame(folder))
    names = Names(_spec(library, spec_file), library.own)
    left_out: dict[str, str] = {}
    grids = _each(names.spec.tables, lambda table: build(table, names, library), "table", left_out)
    verdicts, judged = claims_table.build(names.spec, names, library) if names.spec.claims else ([], [])
    family = _test_family(names, grids)
    for grid in grids:
        family.mark(grid)
    claims = claims_table.summary(judged, names)
    return StudyTables(library, names, grids, verdicts, claims, family, left_out)


def render(folder: Path, spec_file: Path | None) -> Rendered:
    """Return every output of a study's folder. Raises TableError."""
    made = study_tables(folder, spec_file)
    library, names, left_out, claims = made.library, made.names, made.left_out, made.claims
    pictures = _each(names.spec.figures, lambda figure: draw.draw(figure, names, made.family), "figure", left_out)
    files: dict[str, bytes] = {}
    for grid in [*made.grids, *made.claim_grids]:
        files |= write.write(grid)
    for picture in pictures:
        files |= {f"figures/{picture.name}.{ending}": data for ending, data in picture.files.items()}
    files["origins.csv"] = provenance.write([*made.grids, *made.claim_grids]).encode()
    appendix = {table.name for table in names.spec.tables if isinstance(table, CountTable)}
    page = report.write(names, made.grids, pictures, left_out, made.claim_grids, claims, mlflow_links.links(folder))
    files["report.html"] = page.encode()
    files["reproducibility.md"] = reproducibility.write(names, claims).encode()
    about = {
        "study": library.own.study, "title": library.own.title, "label": library.own.label,
        "digest": library.own.digest, "counts": report.counts(library.own), "left_out": left_out,
        "question": _question(library.own.metadata.study_text or ""),
        "tables": [{"name": g.name, "caption": plain(g.caption), "appendix": g.name in appendix} for g in made.grids],
        "figures": [{"name": p.name, "caption": tex(p.caption), "wide": p.wide} for p in pictures],
        "claim_tables": [grid.name for grid in made.claim_grids], **made.summary(),
    }  # fmt: skip
    return Rendered(files, about, tuple(sorted(library.read)))


def _question(study_text: str) -> str:
    """Return the first paragraph of the study file's opening comment: what the study asks."""
    lines = takewhile(lambda line: line.startswith("# "), study_text.splitlines())
    return " ".join(line.removeprefix("# ").strip() for line in lines)


def _test_family(names: Names, grids: list[Grid]) -> HolmFamily:
    """Return the tests of all tables and figures."""
    forests = [figure for figure in names.spec.figures if isinstance(figure, Forest)]
    drawn = [effect.cell for figure in forests for effect in effects(figure, names)]
    return HolmFamily([*cells_of(grids), *drawn], added_seeds(names.frame))


def _spec(library: StudyFrames, file: Path | None) -> Spec:
    if file is None:
        return default_spec(library.own)
    spec, document = read_table_file(file, _shown(file))
    check(spec, document, library)
    return spec


def _shown(file: Path) -> str:
    """Return the path relative to the working directory if it is below it."""
    here = Path.cwd()
    return str(file.resolve().relative_to(here)) if file.resolve().is_relative_to(here) else str(file)


def _each(specs: tuple[Entry, ...], make: Callable[[Entry], Made], kind: str, left_out: dict[str, str]) -> list[Made]:
    """Return what can be made; add the rest to `left_out` with its reason."""
    made = []
    for spec in specs:
        try:
            made.append(make(spec))
        except NoData as nothing:
            left_out[f"{kind} {getattr(spec, 'name', '')}"] = str(nothing)
    return made
