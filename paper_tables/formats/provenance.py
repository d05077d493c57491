"""origins.csv: the trials or the publication that each number of each table comes from."""

from __future__ import annotations

from collections.abc import Iterable

from paper_tables.core.text import csv_lines, plain
from paper_tables.tables.grid import Grid

HEAD = ("table", "row", "column", "value", "n", "study", "trials", "source")


def write(grids: Iterable[Grid]) -> str:
    lines: list[tuple[object, ...]] = [HEAD]
    for grid in grids:
        words = sum(head.words for head in grid.heads)
        group, above = "", [""] * words
        for row in grid.rows:
            group = row.group or group
            above = [cell.text or before for cell, before in zip(row.cells[:words], above, strict=False)]
            for i, (head, cell) in enumerate(row.under(grid.heads)):
                if cell.trials or cell.origin:
                    line = plain(", ".join(dict.fromkeys(text for text in (group, *above[:i]) if text)))
                    value = repr(cell.value) if cell.value is not None else plain(cell.text)
                    where, source = (grid.name, line, plain(head.full)), (" ".join(cell.trials), plain(cell.origin))
                    lines.append((*where, value, cell.n or "", cell.study, *source))
    return csv_lines(lines)
