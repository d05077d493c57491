"""Render a study's folder: frame and table file to the contents of all output files."""

from __future__ import annotations

from pathlib import Path

from paper_tables.core.text import plain, tex
from paper_tables.formats import all as write
from paper_tables.formats import provenance
from paper_tables.schema.tables import CountTable
from paper_tables.site import mlflow_links, report, reproducibility
from paper_tables.site.render_cache import Rendered
from paper_tables.site.study_tables import StudyTables


def render(folder: Path, spec_file: Path | None) -> Rendered:
    """Return every output of a study's folder. Raises TableError."""
    made = StudyTables.load(folder, spec_file)
    library, names, grids, pictures = made.library, made.names, made.grids, made.pictures
    files: dict[str, bytes] = {}
    for grid in [*grids, *made.claim_grids]:
        files |= write.write(grid)
    for picture in pictures:
        files |= {f"figures/{picture.name}.{ending}": data for ending, data in picture.files.items()}
    files["origins.csv"] = provenance.write([*grids, *made.claim_grids]).encode()
    appendix = {table.name for table in names.spec.tables if isinstance(table, CountTable)}
    links = mlflow_links.links(folder)
    page = report.write(names, grids, pictures, made.left_out, made.claim_grids, made.claims, links)
    files["report.html"] = page.encode()
    files["reproducibility.md"] = reproducibility.write(names, made.claims).encode()
    about = {
        "study": library.own.study, "title": library.own.title, "label": library.own.label,
        "digest": library.own.digest, "counts": report.counts(library.own), "left_out": made.left_out,
        "question": report.question(library.own.metadata.study_text or ""),
        "tables": [{"name": g.name, "caption": plain(g.caption), "appendix": g.name in appendix} for g in grids],
        "figures": [{"name": p.name, "caption": tex(p.caption), "wide": p.wide} for p in pictures],
        "claim_tables": [grid.name for grid in made.claim_grids], **made.summary(),
    }  # fmt: skip
    return Rendered(files, about, tuple(sorted(library.read)))
