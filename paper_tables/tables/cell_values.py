"""Cells of one metric: mean and spread of an arm, or its paired difference to the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paper_tables.core.statistics import MIN_SEEDS, Difference, difference, holm, paired, summarize
from paper_tables.data.frame import Arm, Frame
from paper_tables.data.predictions import compare_predictions
from paper_tables.schema.tables import Show
from paper_tables.tables.grid import Cell, Row
from paper_tables.tables.labels import Names, automatic_digits

SUBHEADS = {
    "mean": "",
    "mean_sd": "mean ± sd",
    "mean_ci": "± {level} CI",
    "paired_difference": "± {level} CI",
    "mcnemar": "gained/lost",
}


@dataclass(frozen=True)
class Measure:
    """Formats one metric as cells: what to show, scaling factor, digits."""

    frame: Frame
    metric: str
    show: Show
    level: float
    factor: float
    unit: str
    digits: int

    @classmethod
    def of(
        cls, names: Names, arms: Iterable[Arm], metric: str, show: Show, level: float, digits: int | None, scale: bool
    ) -> Measure:
        """Choose the factor and the digits so that they fit all arms of the column."""
        frame = names.frame
        means = [summarize(list(v.values())).mean for v in (frame.values(arm, metric) for arm in arms) if v]
        factor, unit = names.scaled(metric, means) if scale else (1.0, names.metric(metric).unit)
        fitting = automatic_digits(factor * m for m in means) if digits is None else digits
        return cls(frame, metric, show, level, factor, unit, fitting)

    def under(self, cells: Iterable[Cell]) -> str:
        """Return the line below the head; empty if no cell has a spread."""
        subhead = SUBHEADS[self.show].format(level=f"{100 * self.level:g} %")
        return subhead if self.show == "mcnemar" or any(cell.spread is not None for cell in cells) else ""

    def values(self, arm: Arm) -> dict[int, float]:
        return {seed: self.factor * v for seed, v in self.frame.values(arm, self.metric).items()}

    def cell(self, arm: Arm) -> Cell:
        """Return the cell of an arm: its own values, or their difference to its part's baseline."""
        if self.show not in ("paired_difference", "mcnemar"):
            return self._mean(arm)
        if arm.baseline:
            return Cell(text="ref.")
        base = self.frame.baseline(arm.part)
        if base is not None and self.show == "mcnemar":
            return self.images(arm, base)
        return Cell(note="" if base else "the part has no baseline") if base is None else self.against(arm, base)

    def _mean(self, arm: Arm) -> Cell:
        values = self.values(arm)
        done = self.frame.finished_trials(arm)
        if not values:
            return Cell(note="the finished trials have no finite value" if done else "")
        summary = summarize(list(values.values()), self.level)
        spread = {"mean": None, "mean_sd": summary.sd, "mean_ci": summary.half_width}[self.show]
        lost = len(done) - len(values)
        note = f"n = {len(values)}: no finite value in {lost} finished trial{'s' * (lost > 1)}" if lost else ""
        return Cell(summary.mean, spread, self.digits, note=note, n=summary.n, trials=tuple(done))

    def against(self, arm: Arm, base: Arm) -> Cell:
        return self.difference_cell(
            paired(self.values(arm), self.values(base), self.level), len(self.frame.finished_trials(arm))
        )

    def images(self, arm: Arm, base: Arm) -> Cell:
        """Return the numbers of images that only this arm, and that only the baseline classified correctly."""
        one, other = self.frame.trial_by_seed(arm), self.frame.trial_by_seed(base)
        found = compare_predictions(self.frame.images, one, other) if self.frame.images else None
        if found is None:
            return Cell(note="no predictions were kept" if one and other else "")
        shared = len(one.keys() & other.keys())
        return Cell(
            found.gained - found.lost, digits=0, text=f"+{found.gained}/−{found.lost}", n=found.n, p=found.p,
            test="mcnemar", least=found.least, trials=(*one.values(), *other.values()),
            note=f"n = {found.n} pair{'s' * (found.n > 1)}" if found.n < shared else "",
        )  # fmt: skip

    def difference_cell(self, result: Difference | None, expected: int) -> Cell:
        """Return the cell of a difference; `expected` is the number of pairs if every finished trial had one."""
        if result is None:
            return Cell()
        note = ""
        if result.n < expected:
            note = f"n = {result.n} pair{'s' * (result.n > 1)}"
        if result.n >= MIN_SEEDS and result.half_width is None:
            note = "all differences are equal: no spread to test with"
        return Cell(
            result.mean, result.half_width, self.digits, signed=True, note=note, n=result.n, p=result.p, sd=result.sd
        )


def interaction(corners: list[list[Mapping[int, float]]], level: float) -> Difference | None:
    """Return (a11 - a10) - (a01 - a00), paired by seed; None without common seeds."""
    (a00, a01), (a10, a11) = corners
    seeds = sorted(a00.keys() & a01.keys() & a10.keys() & a11.keys())
    return difference([a11[s] - a10[s] - a01[s] + a00[s] for s in seeds], level) if seeds else None


def adjust(rows: Iterable[Row]) -> None:
    """Set Holm-adjusted p values over all marked differences of a table, separately for each test."""
    marked = [cell for row in rows for cell in row.cells if cell.p is not None]
    for test in ("t", "mcnemar"):
        cells = [cell for cell in marked if cell.test == test]
        for cell, p in zip(cells, holm([cell.p for cell in cells]), strict=True):
            cell.holm = p


def mark_best(cells: Iterable[Cell], direction: str) -> None:
    """Mark the best printed numbers: equal digits are equally good; if all are equal, none is marked."""
    shown = [(float(cell.number()), cell) for cell in cells if cell.value is not None and not cell.text]
    if direction == "none" or len({value for value, _ in shown}) < 2:
        return
    top = (max if direction == "max" else min)(value for value, _ in shown)
    for value, cell in shown:
        cell.best = value == top
