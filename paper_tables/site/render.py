"""Render a study's folder: frame and table file to the contents of all output files."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from paper_tables.claims import table as claims_table
from paper_tables.core.text import plain, tex
from paper_tables.formats import all as write
from paper_tables.formats import provenance
from paper_tables.schema.tables import CountTable
from paper_tables.site import mlflow_links, report, reproducibility
from paper_tables.site.render_cache import Rendered
from paper_tables.site.study_tables import StudyTables


def render(folder: Path, spec_file: Path | None) -> Rendered:
    """Return every output of a study's folder. Raises TableError."""
    study = StudyTables.load(folder, spec_file)
    names, library, grids, pictures = study.names, study.library, study.grids, study.pictures
    verdicts, judged = study.claims
    files: dict[str, bytes] = {}
    for grid in [*grids, *verdicts]:
        files |= write.write(grid)
    for picture in pictures:
        files |= {f"figures/{picture.name}.{ending}": data for ending, data in picture.files.items()}
    files["origins.csv"] = provenance.write([*grids, *verdicts]).encode()
    claims = claims_table.summary(judged, names)
    counted = {table.name for table in names.spec.tables if isinstance(table, CountTable)}
    page = report.write(names, grids, pictures, study.left_out, verdicts, claims, mlflow_links.links(folder))
    files["report.html"] = page.encode()
    files["reproducibility.md"] = reproducibility.write(names, claims).encode()
    about = {
        "study": library.own.study, "title": library.own.title, "label": library.own.label,
        "digest": library.own.digest, "counts": report.counts(library.own), "left_out": study.left_out,
        "question": question(library.own.metadata.study_text or ""),
        "tables": [{"name": g.name, "caption": plain(g.caption), "appendix": g.name in counted} for g in grids],
        "figures": [{"name": p.name, "caption": tex(p.caption), "wide": p.wide} for p in pictures],
        "claims": claims, "claim_tables": [grid.name for grid in verdicts],
    }  # fmt: skip
    return Rendered(files, about, tuple(sorted(library.read)))


def question(study_text: str) -> str:
    """Return the first paragraph of the study file's opening comment: what the study asks."""
    lines = takewhile(lambda line: line.startswith("# "), study_text.splitlines())
    return " ".join(line.removeprefix("# ").strip() for line in lines)
