"""Published numbers as printed in the papers. A blank stays a blank: missing numbers are never filled in."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from paper_tables.core.errors import suggest
from paper_tables.core.text import escape_markup
from paper_tables.schema.published import Published
from paper_tables.tables.grid import Cell

PUBLISHED = Path(__file__).parent.parent / "published"
COLUMNS = ("params_m", "gflops", "throughput_img_s", "speedup", "top1", "top5")
COUNTS = ("params_m", "gflops")
COUNT_FILES = ("sret", "evo_vit", "mor_vit", "tpc_vit", "baselines")
KEYS = ("paper", "table", "method", "backbone", "variant", "setting")


@cache
def rows(file: str) -> tuple[dict[str, str], ...]:
    """Return all rows of ``published/<file>.csv``; empty if there is no such file."""
    path = PUBLISHED / f"{file}.csv"
    if not re.fullmatch(r"[\w-]+", file) or not path.is_file():
        return ()
    with path.open(newline="", encoding="utf-8") as f:
        return tuple(csv.DictReader(f))


def matching(source: Published) -> list[dict[str, str]]:
    """Return the rows whose columns match."""
    return [
        row
        for row in rows(source.file)
        if all(fnmatchcase(row.get(key, ""), pattern) for key, pattern in source.where.items())
    ]


def find(source: Published) -> dict[str, str] | None:
    """Return the first row that matches."""
    return next(iter(matching(source)), None)


def cell(row: dict[str, str], column: str, source: Published) -> Cell:
    """Return a published number as printed; text in parentheses becomes the note. A blank is an empty cell."""
    text = row.get(column, "").strip()
    if not text:
        return Cell()
    value = number(text)
    text, _, aside = (text, "", "") if value is not None else text.partition(" (")
    doubts = [aside.removesuffix(")")] if aside else []
    doubts += [] if source.comparable else [f"not comparable: {source.why}"]
    digits = len(text.partition(".")[2]) if value is not None else 0
    factor = source.factor.get(column)
    if factor is not None and value is not None:
        value, digits = value * factor, digits + 1
        doubts.append(f"printed as {text}" + (f": {source.why}" if source.comparable and source.why else ""))
    words = "" if value is not None else escape_markup(text)
    note = "; ".join(map(escape_markup, doubts))
    return Cell(value, digits=digits, text=words, grey=not source.comparable, note=note, origin=origin(row))


def origin(row: dict[str, str]) -> str:
    """Return the source of a published row, for tooltips in HTML."""
    table = ", ".join(row[key] for key in ("paper", "table") if row.get(key))
    return f"{table}: {row.get('source', '')} ({row.get('confidence') or 'unrated'})"


def problem(source: Published) -> tuple[str, str] | None:
    """Return (key, message) of an error in the reference, or None."""
    if not rows(source.file):
        names = sorted(path.stem for path in PUBLISHED.glob("*.csv"))
        return "file", f"there is no published/{source.file}.csv{suggest(source.file, names)}"
    unknown = [key for key in source.where if key not in KEYS]
    if unknown:
        return "where", f'no column "{unknown[0]}"{suggest(unknown[0], KEYS)}'
    wrong = [key for key in source.factor if key not in COLUMNS]
    if wrong:
        return "factor", f'no column of numbers "{wrong[0]}"{suggest(wrong[0], COLUMNS)}'
    if find(source) is None:
        return "where", f"no row of published/{source.file}.csv matches"
    return None


def number(text: str) -> float | None:
    """Return the value of a printed number; None for text such as ``2.5x (up to)``."""
    try:
        return float(text)
    except ValueError:
        return None


# ---- which arm of the study `cost` a published count belongs to: the first matching row of ``published/counted.csv``


@dataclass(frozen=True)
class CountSource:
    """A row of the file: patterns for the columns of published rows, and the arm that they describe."""

    group: str
    model: str
    """The arm's level; empty: no arm, see `why`."""
    file: str
    patterns: dict[str, str]
    factor: float
    """Operations per multiply-accumulate as the source counts them."""
    why: dict[str, str]
    """Known reasons of a difference, by column."""

    def matches(self, file: str, row: dict[str, str]) -> bool:
        return file == self.file and all(fnmatchcase(row[key], pattern) for key, pattern in self.patterns.items())


def count_sources() -> list[CountSource]:
    found = []
    for row in rows("counted"):
        patterns = {key: row[key] for key in KEYS if row[key]}
        why = {"params_m": row["why_params"], "gflops": row["why_gflops"]}
        factor = float(row["flops_per_mac"] or 1)
        found.append(CountSource(row["group"], row["model"], row["file"], patterns, factor, why))
    return found


def assigned_rows() -> Iterator[tuple[dict[str, str], str, CountSource | None]]:
    """Yield every published row with a count, its file and its assignment (a test forbids None)."""
    known = count_sources()
    for file in COUNT_FILES:
        for row in rows(file):
            if any(row[key] for key in COUNTS):
                yield row, file, next((c for c in known if c.matches(file, row)), None)
