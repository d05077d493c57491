"""Markdown for a README or an issue: one header line, notes as a list."""

from __future__ import annotations

import re

from paper_tables.core.text import plain
from paper_tables.tables.grid import DASH, Cell, Grid, Head


def write(grid: Grid) -> str:
    lines = [f"**{safe(grid.caption)}**", ""] if grid.caption else []
    lines.append("| " + " | ".join(_head(head) for head in grid.heads) + " |")
    lines.append("|" + "|".join(" :-- " if head.words else " --: " for head in grid.heads) + "|")
    for row in grid.rows:
        if row.group:
            lines.append("| " + " | ".join([f"**{safe(row.group)}**"] + [""] * (len(grid.heads) - 1)) + " |")
        cells: list[str] = []
        for cell in row.cells:
            numeric = grid.heads[len(cells)].kind == "number"
            cells += [_cell(grid, cell, numeric)] * cell.span
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- <sup>{letter}</sup> {safe(text)}." for text, letter in grid.letters.items()]
    lines += [f"- {safe(note)}" for note in grid.notes]
    return "\n".join([*lines, "", f"<!-- {grid.provenance} -->", ""])


def safe(text: str) -> str:
    """Return plain text with Markdown characters escaped."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", plain(text))


def _head(head: Head) -> str:
    text = f"{head.over}, {head.text}" if head.over else head.text
    return safe(text) + (f"<br>{safe(head.sub)}" if head.sub else "")


def _cell(grid: Grid, cell: Cell, numeric: bool) -> str:
    mark = grid.mark(cell)
    hung = ("\\*" if cell.star else "") + (f"<sup>{mark.lstrip('*')}</sup>" if cell.note else "")
    if cell.value is None or cell.text:
        text = safe(cell.text) or (DASH if numeric else "")
    else:
        spread = f" ± {cell.uncertainty()}" if cell.spread is not None else ""
        text = cell.number().replace("-", "−") + spread
    if cell.best:
        text = f"**{text}**"
    return (f"*{text}*" if cell.grey else text) + hung
