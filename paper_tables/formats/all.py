"""Every table in four forms, all from the same cells, each closed by a comment that names the frame and the commit."""

from __future__ import annotations

from paper_tables.formats import csv, html, latex, markdown
from paper_tables.tables.grid import Grid

FORMATS = {"tex": latex.write, "md": markdown.write, "html": html.page, "csv": csv.write}


def write(grid: Grid) -> dict[str, bytes]:
    """File name -> contents."""
    return {f"tables/{grid.name}.{ending}": form(grid).encode() for ending, form in FORMATS.items()}
