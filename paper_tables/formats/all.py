"""All table formats, made from the same cells; each file ends with a comment naming frame and commit."""

from __future__ import annotations

from paper_tables.formats import csv, html, latex, markdown
from paper_tables.tables.grid import Grid

FORMATS = {"tex": latex.write, "md": markdown.write, "html": html.page, "csv": csv.write}


def write(grid: Grid) -> dict[str, bytes]:
    """Return file name -> contents."""
    return {f"tables/{grid.name}.{ending}": form(grid).encode() for ending, form in FORMATS.items()}
