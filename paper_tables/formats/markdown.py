"""Markdown for a README or an issue: one header line, notes as a list."""

from __future__ import annotations

import re

from paper_tables.core.text import plain
from paper_tables.tables.grid import Cell, Grid, Head


def write(grid: Grid) -> str:
    lines = [f"**{safe(grid.caption)}**", ""] if grid.caption else []
    lines.append("| " + " | ".join(_head(head) for head in grid.heads) + " |")
    lines.append("|" + "|".join(" :-- " if head.words else " --: " for head in grid.heads) + "|")
    for row in grid.rows:
        if row.group:
            lines.append("| " + " | ".join([f"**{safe(row.group)}**"] + [""] * (len(grid.heads) - 1)) + " |")
        cells = [_cell(grid, cell, head) for cell, head in zip(row.wide, grid.heads, strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"- <sup>{letter}</sup> {safe(text)}." for text, letter in grid.letters.items()]
    lines += [f"- {safe(note)}" for note in grid.notes]
    return "\n".join([*lines, "", f"<!-- {grid.provenance} -->", ""])


def safe(text: str) -> str:
    """Return plain text with Markdown characters escaped."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", plain(text))


def _head(head: Head) -> str:
    name = f"{head.shown_over}, {head.shown}" if head.over else head.shown
    return safe(name) + (f"<br>{safe(head.sub)}" if head.sub else "")


def _cell(grid: Grid, cell: Cell, head: Head) -> str:
    mark = grid.mark(cell)
    hung = ("\\*" if cell.star else "") + (f"<sup>{mark.lstrip('*')}</sup>" if cell.note else "")
    text = safe(cell.printed(head))
    text = f"**{text}**" if cell.best else text
    return (f"*{text}*" if cell.grey else text) + hung
