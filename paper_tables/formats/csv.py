"""CSV for a spreadsheet: the printed numbers, spread and adjusted p in columns of their own.

Notes and provenance follow as comments: pandas reads it with comment="#".
"""

from __future__ import annotations

from paper_tables.core.text import csv_lines, plain
from paper_tables.tables.grid import Cell, Grid, Head


def write(grid: Grid) -> str:
    grouped = any(row.group for row in grid.rows)
    columns = [_column(head, [row.wide[i] for row in grid.rows]) for i, head in enumerate(grid.heads)]
    heads, *rows = zip(*(line for column in columns for line in column), strict=True)
    lines = [["Part"] * grouped + [*heads]]
    group, kept = "", ""
    for row, (first, *texts) in zip(grid.rows, rows, strict=True):
        group = row.group.partition(";")[0] or group
        kept = first or ("" if row.group else kept)
        lines.append([plain(group)] * grouped + [kept, *texts])
    notes = [*map(plain, [*grid.letters, *grid.notes]), grid.provenance]
    return csv_lines(lines) + "".join(f"# {note}\n" for note in notes)


def _column(head: Head, cells: list[Cell]) -> list[list[str]]:
    """Return one to three columns, each with its head: the numbers, their spread, their adjusted p values."""
    name, under = plain(head.full), plain(head.sub).replace("mean ", "")
    found = [[name, *(plain(c.text) or (c.number() if c.value is not None else "") for c in cells)]]
    if any(cell.spread is not None for cell in cells):
        found.append([f"{name} {under}".strip(), *(cell.uncertainty() for cell in cells)])
    if any(cell.holm is not None for cell in cells):
        found.append([f"{name} p (Holm)", *("" if c.holm is None else f"{c.holm:.4g}" for c in cells)])
    return found
