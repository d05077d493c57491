"""Plain text for the terminal; the same whether a person or a file reads it."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

GAP = "  "
STATUSES = ("done", "running", "queued", "preempted", "stopped", "lost", "failed", "planned")
"""In the order in which they are shown."""


def terminal_width() -> int | None:
    """Return the columns of the terminal; None where the output goes to a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = (), width: int | None = None) -> list[str]:
    """Return lines of aligned columns, the numbered ones to the right; lines above `width` end in an ellipsis."""
    numbers = set(right)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        line = GAP.join(cells).rstrip()
        lines.append(line if width is None or len(line) <= width else line[: width - 1] + "…")
    return lines


def counts_in_order(count: Mapping[Any, int]) -> list[tuple[str, int]]:
    """Return name and number of each status; a planned trial, which has no folder, is called missing."""
    names = {status: "missing" if status == "planned" else status for status in STATUSES if status in count}
    return [(name, count[status]) for status, name in names.items()]


def format_counts(count: Mapping[Any, int]) -> str:
    """ "done 3, failed 1, missing 1"."""
    return ", ".join(f"{name} {number}" for name, number in counts_in_order(count))


def arms_table(arms: Iterable[tuple[str, str, Counter[Any]]], width: int | None = None) -> list[str]:
    """Return a line per arm: part (where it begins), arm, seeds, and how many of them have which status."""
    rows, last = [["part", "arm", "seeds", "state"]], ""
    for part, arm, count in arms:
        rows.append([part if part != last else "", arm, str(count.total()), format_counts(count)])
        last = part
    return [GAP + line for line in table(rows, right=[2], width=width and width - len(GAP))]


def near(path: Path) -> str:
    """Return a path relative to the current folder if it lies inside, else as it is."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def format_files(files: Sequence[Path]) -> str:
    """ "results/x/tables/redundancy.tex, costs.tex  (+ csv, html, md)": one kind by name, the first with its folder."""
    kinds = list(dict.fromkeys(file.suffix[1:] for file in files))
    first = next((kind for kind in ("tex", "pdf") if kind in kinds), kinds[0])
    main = [file for file in files if file.suffix == f".{first}"]
    line = ", ".join([near(main[0]), *(file.name for file in main[1:])])
    return line + (f"  (+ {', '.join(sorted(k for k in kinds if k != first))})" if len(kinds) > 1 else "")
