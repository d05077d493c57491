"""Every table in four forms, all from the same cells, each closed by a comment that names the frame and the commit."""

from __future__ import annotations

from paper_tables import write_csv, write_html, write_markdown, write_tex
from paper_tables.grid import Grid

FORMS = {"tex": write_tex.write, "md": write_markdown.write, "html": write_html.page, "csv": write_csv.write}


def write(grid: Grid) -> dict[str, bytes]:
    """File name -> contents."""
    return {f"tables/{grid.name}.{ending}": form(grid).encode() for ending, form in FORMS.items()}
