"""Which arm of the study `cost` a published count belongs to: the first row of ``published/counted.csv`` that matches.

Columns: group, model (the arm's level; empty: no arm, see why_params), the file and patterns
for its columns, flops_per_mac (empty: 1), why_params and why_gflops: known reasons of a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from paper_tables.tables import published

FILES = ("sret", "evo_vit", "mor_vit", "tpc_vit", "baselines")
COUNTS = ("params_m", "gflops")


@dataclass(frozen=True)
class CountSource:
    """A row of the file: a pattern for published rows, and the model that they describe."""

    group: str
    model: str
    file: str
    patterns: dict[str, str]
    factor: float
    """Operations per multiply-accumulate as the source counts them."""
    why: dict[str, str]

    def matches(self, file: str, row: dict[str, str]) -> bool:
        return file == self.file and all(fnmatchcase(row[key], pattern) for key, pattern in self.patterns.items())


def count_sources() -> list[CountSource]:
    return [
        CountSource(
            row["group"],
            row["model"],
            row["file"],
            {key: row[key] for key in published.KEYS if row[key]},
            float(row["flops_per_mac"] or 1),
            {"params_m": row["why_params"], "gflops": row["why_gflops"]},
        )
        for row in published.rows("counted")
    ]


def groups() -> list[str]:
    return list(dict.fromkeys(row.group for row in count_sources() if row.group))


def assigned_rows() -> Iterator[tuple[dict[str, str], str, CountSource | None]]:
    """Yield every published row with a count, its file and its assignment (a test forbids None)."""
    known = count_sources()
    for file in FILES:
        for row in published.rows(file):
            if any(row[key] for key in COUNTS):
                yield row, file, next((c for c in known if c.matches(file, row)), None)
