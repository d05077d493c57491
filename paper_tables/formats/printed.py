"""A table as it is printed, in JSON: the texts of its cells, for the terminal and for programs."""

from __future__ import annotations

from typing import Any

from paper_tables.core.text import plain
from paper_tables.tables.grid import Grid

Printed = dict[str, Any]
"""name, caption, heads (over, text, sub, kind), rows (group, rule, cells: text, mark, best, gray, span), notes."""


def write(grid: Grid) -> Printed:
    """Return the same texts as the written files have, one cell where several columns share it."""
    heads = [
        {"over": plain(h.shown_over) if h.over else "", "text": plain(h.shown), "sub": plain(h.sub), "kind": h.kind}
        for h in grid.heads
    ]
    rows = [
        {
            "group": plain(row.group),
            "rule": row.rule,
            "cells": [
                {"text": c.printed(head), "mark": grid.mark(c), "best": c.best, "gray": c.grey, "span": c.span}
                for head, c in row.under(grid.heads)
            ],
        }
        for row in grid.rows
    ]
    letters = [f"{letter}: {plain(text)}." for text, letter in grid.letters.items()]
    notes = [*letters, *map(plain, grid.notes)]
    return {"name": grid.name, "caption": plain(grid.caption), "heads": heads, "rows": rows, "notes": notes}
