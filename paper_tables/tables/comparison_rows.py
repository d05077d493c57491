"""Rows of a comparison: the published row and the measured arms of each, before numbers are formatted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paper_tables.core.text import escape_markup
from paper_tables.data.other_studies import SelectedArm, StudyFrames, first_available
from paper_tables.schema.comparisons import ComparisonRow, ComparisonTable
from paper_tables.tables import published
from paper_tables.tables.labels import Names

COUNTED_METRICS = ("params", "params_m", "gflops", "macs", "macs_g")
"""Deterministic: the same for every seed of a static model."""


@dataclass(frozen=True)
class ComparedLine:
    """One row: the published numbers and the arms to compare them with."""

    row: ComparisonRow
    label: str
    group: str
    paper: dict[str, str] | None
    found: tuple[SelectedArm, ...]

    def reconstructed(self, names: Names) -> bool:
        if self.row.reconstructed is not None:
            return self.row.reconstructed
        return any(Names(names.spec, one.frame).reconstructed(one.arm.part) for one in self.found)


def expand(row: ComparisonRow, library: StudyFrames) -> Iterator[ComparedLine]:
    """Yield one row, or with `every` one per published row."""
    papers: list[dict[str, str] | None] = [*(published.matching(row.published) if row.published else ())]
    group = row.group
    for paper in papers if row.every else (papers[:1] or [None]):
        label = row.label or (paper or {}).get("variant") or (paper or {}).get("method") or ""
        for key, value in (paper or {}).items():
            label = label.replace(f"{{{key}}}", escape_markup(value))
        yield ComparedLine(row, label, group, paper, tuple(library.all(row.measured)))
        group = ""


def ordered(table: ComparisonTable, lines: list[ComparedLine]) -> list[ComparedLine]:
    """Return the rows in the file's order, or sorted by a column inside each group."""
    sort = table.sort
    if sort is None:
        return lines
    blocks: list[list[ComparedLine]] = []
    for line in lines:
        blocks += [[]] if line.group or not blocks else []
        blocks[-1].append(line)

    def key(line: ComparedLine) -> tuple[bool, float]:
        value = _sortable(table, line)
        return value is None, (value or 0.0) * (-1 if sort.descending else 1)

    found = []
    for block in blocks:
        group, block = block[0].group, sorted(block, key=key)
        found += [
            ComparedLine(line.row, line.label, group if i == 0 else "", line.paper, line.found)
            for i, line in enumerate(block)
        ]
    return found


def _sortable(table: ComparisonTable, line: ComparedLine) -> float | None:
    by = table.sort.by if table.sort else ""
    if table.sort and table.sort.of == "published":
        return published.number((line.paper or {}).get(by, ""))
    got = first_available(line.found, (by,))
    return got.summary.mean if got else None
