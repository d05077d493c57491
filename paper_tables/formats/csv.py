"""CSV for a spreadsheet: the printed numbers, spread and adjusted p in columns of their own.

Notes and provenance follow as comments: pandas reads it with comment="#".
"""

from __future__ import annotations

from paper_tables.core.text import csv_lines, plain
from paper_tables.tables.grid import Cell, Grid, Head


def write(grid: Grid) -> str:
    grouped = any(row.group for row in grid.rows)
    wide = [_wide(grid, i) for i in range(len(grid.heads))]
    heads = [text for head, w in zip(grid.heads, wide, strict=True) for text in _head(head, w)]
    lines = [["Part"] * grouped + heads]
    group, kept = "", ""
    for row in grid.rows:
        group = row.group.partition(";")[0] or group
        cells = [cell for cell in row.cells for _ in range(cell.span)]
        first, *texts = [text for cell, w in zip(cells, wide, strict=True) for text in _cell(cell, w)]
        kept = first or ("" if row.group else kept)
        lines.append([plain(group)] * grouped + [kept, *texts])
    notes = [*map(plain, [*grid.letters, *grid.notes]), grid.provenance]
    return csv_lines(lines) + "".join(f"# {note}\n" for note in notes)


def _wide(grid: Grid, i: int) -> tuple[bool, bool]:
    """Return whether any cell of the column has a spread, and whether any has a p value."""
    columns = [[cell for cell in row.cells for _ in range(cell.span)] for row in grid.rows]
    return any(row[i].spread is not None for row in columns), any(row[i].holm is not None for row in columns)


def _head(head: Head, wide: tuple[bool, bool]) -> list[str]:
    name = plain(f"{head.over}, {head.text}" if head.over else head.text)
    under = plain(head.sub).replace("mean ", "")
    return [name, *([f"{name} {under}".strip()] if wide[0] else []), *([f"{name} p (Holm)"] if wide[1] else [])]


def _cell(cell: Cell, wide: tuple[bool, bool]) -> list[str]:
    value = plain(cell.text) if cell.text else cell.number() if cell.value is not None else ""
    p = "" if cell.holm is None else f"{cell.holm:.4g}"
    return [value, *([cell.uncertainty()] if wide[0] else []), *([p] if wide[1] else [])]
