"""Numbers from the papers, as printed there. A blank stays a blank: what is not published is never filled."""

from __future__ import annotations

import csv
import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from paper_tables.errors import nearest
from paper_tables.spec import Published

HERE = Path(__file__).parent / "published"
COLUMNS = ("params_m", "gflops", "throughput_img_s", "speedup", "top1", "top5")
KEYS = ("paper", "table", "method", "backbone", "variant", "setting")


@cache
def rows(file: str) -> tuple[dict[str, str], ...]:
    """All rows of ``published/<file>.csv``; empty where there is no such file."""
    path = HERE / f"{file}.csv"
    if not re.fullmatch(r"[\w-]+", file) or not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as f:
        return tuple(csv.DictReader(f))


def find(source: Published) -> dict[str, str] | None:
    """The first row whose columns match."""
    for row in rows(source.file):
        if all(fnmatchcase(row.get(key, ""), pattern) for key, pattern in source.where.items()):
            return row
    return None


def fault(source: Published) -> tuple[str, str] | None:
    """What is wrong with it, as (key, message)."""
    if not rows(source.file):
        names = sorted(path.stem for path in HERE.glob("*.csv"))
        return "file", f"there is no published/{source.file}.csv{nearest(source.file, names)}"
    unknown = [key for key in source.where if key not in KEYS]
    if unknown:
        return "where", f'no column "{unknown[0]}"{nearest(unknown[0], KEYS)}'
    if find(source) is None:
        return "where", f"no row of published/{source.file}.csv matches"
    return None


def number(text: str) -> float | None:
    """The value of a printed number; None for words such as ``2.5x (up to)``."""
    try:
        return float(text)
    except ValueError:
        return None
