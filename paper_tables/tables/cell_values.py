"""Cells of one metric: mean and spread over seeds, or the paired difference to the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paper_tables.core.statistics import MIN_SEEDS, Difference, difference, paired
from paper_tables.data.other_studies import Measurement, SelectedArm, first_available
from paper_tables.data.predictions import compare_predictions
from paper_tables.schema.tables import Column, Show
from paper_tables.tables.grid import Cell
from paper_tables.tables.labels import COUNT_DIGITS, Names, automatic_digits

SUBHEADS = {
    "mean": "",
    "mean_sd": "mean ± sd",
    "mean_ci": "± {level} CI",
    "paired_difference": "± {level} CI",
    "mcnemar": "gained/lost",
}


@dataclass(frozen=True)
class Measure:
    """One metric, or the first of several with a value, shown, scaled and rounded alike in all its cells."""

    metrics: tuple[str, ...]
    show: Show
    level: float
    factor: float
    unit: str
    digits: int

    @classmethod
    def of(
        cls, names: Names, rows: Iterable[Iterable[SelectedArm]], metrics: tuple[str, ...], show: Show, column: Column,
        factor: float | None = None,
    ) -> Measure:  # fmt: skip
        """Choose the digits, and with `factor` None also the factor and its unit, so that they fit all rows."""
        found = [first_available(row, metrics, column.interval) for row in rows]
        means = [got.summary.mean for got in found if got]
        unit = names.metric(metrics[0]).unit if metrics else ""
        most = COUNT_DIGITS if metrics and names.metric(metrics[0]).power is not None else 4
        if factor is None:
            factor, unit = names.scaled(metrics[0], means)
        digits = automatic_digits((factor * mean for mean in means), most) if column.digits is None else column.digits
        return cls(metrics, show, column.interval, factor, unit, digits)

    def under(self, cells: Iterable[Cell]) -> str:
        """Return the line below the head; empty if no cell has a spread."""
        subhead = SUBHEADS[self.show].format(level=f"{100 * self.level:g} %")
        return subhead if self.show == "mcnemar" or any(cell.spread is not None for cell in cells) else ""

    def find(self, found: Iterable[SelectedArm]) -> Measurement | None:
        return first_available(found, self.metrics, self.level, self.factor)

    def cell(self, one: SelectedArm) -> Cell:
        """Return the cell of an arm: its own values, or their difference to its part's baseline."""
        if self.show not in ("paired_difference", "mcnemar"):
            got = self.find([one])
            cell = self.mean(got) if got else Cell()
            cell.note = _values_missing(cell.n, len(one.trials))
            return cell
        if one.arm.baseline:
            return Cell(text="ref.")
        base = one.frame.baseline(one.arm.part)
        if base is None:
            return Cell(note="the part has no baseline")
        against = SelectedArm(one.frame, base)
        return self.images(one, against) if self.show == "mcnemar" else self.against(one, against)

    def mean(self, got: Measurement) -> Cell:
        spread = {"mean_sd": got.summary.sd, "mean_ci": got.summary.half_width}.get(self.show)
        n, trials = got.summary.n, got.found.trials
        return Cell(got.summary.mean, spread, self.digits, n=n, trials=trials, study=got.found.folder)

    def values(self, one: SelectedArm) -> Mapping[int, float]:
        got = self.find([one])
        return got.values if got else {}

    def against(self, one: SelectedArm, base: SelectedArm) -> Cell:
        mine, theirs = self.values(one), self.values(base)
        result = paired(mine, theirs, self.level)
        if result is None and mine and theirs:
            return Cell(note="no seed in common")
        return self.difference_cell(result, len(one.trials), one, base)

    def images(self, one: SelectedArm, base: SelectedArm) -> Cell:
        """Return the numbers of images that only this arm, and that only the baseline classified correctly."""
        mine, theirs = one.frame.trial_by_seed(one.arm), base.frame.trial_by_seed(base.arm)
        found = compare_predictions(one.frame.images, mine, theirs) if one.frame.images else None
        if found is None:
            return Cell(note="no predictions were kept" if mine and theirs else "")
        shared = len(mine.keys() & theirs.keys())
        return Cell(
            found.gained - found.lost, digits=0, text=f"+{found.gained}/−{found.lost}", n=found.n, p=found.p,
            test="mcnemar", tested=self.tested(one, base), least=found.least, trials=(*mine.values(), *theirs.values()),
            note=_pairs(found.n) if found.n < shared else "",
        )  # fmt: skip

    def tested(self, *compared: SelectedArm) -> tuple[str, frozenset[tuple[str, str]]]:
        return self.metrics[0], frozenset((one.arm.part, one.arm.label) for one in compared)

    def difference_cell(self, result: Difference | None, expected: int, *compared: SelectedArm) -> Cell:
        """Return the cell of a difference; `expected` is the number of pairs if every finished trial had one."""
        if result is None:
            return Cell()
        note = _pairs(result.n) if result.n < expected else ""
        if result.n >= MIN_SEEDS and result.half_width is None:
            note = "all differences are equal: no spread to test with"
        return Cell(
            result.mean, result.half_width, self.digits, signed=True, note=note, n=result.n, p=result.p, sd=result.sd,
            unit=self.unit, tested=self.tested(*compared),
        )  # fmt: skip


def _pairs(n: int) -> str:
    return f"n = {n} pair{'s' * (n > 1)}"


def _values_missing(n: int, done: int) -> str:
    lost = done - n
    if not n or not lost:
        return "the finished trials have no finite value" if lost else ""
    return f"n = {n}: no finite value in {lost} finished trial{'s' * (lost > 1)}"


def interaction(corners: list[list[Mapping[int, float]]], level: float) -> Difference | None:
    """Return (a11 - a10) - (a01 - a00), paired by seed; None without common seeds."""
    (a00, a01), (a10, a11) = corners
    seeds = sorted(a00.keys() & a01.keys() & a10.keys() & a11.keys())
    return difference([a11[s] - a10[s] - a01[s] + a00[s] for s in seeds], level) if seeds else None


def mark_best(cells: Iterable[Cell], direction: str) -> None:
    """Mark the best printed numbers: equal digits are equally good; if all are equal, none is marked."""
    shown = [(float(cell.number()), cell) for cell in cells if cell.value is not None and not cell.text]
    if direction == "none" or len({value for value, _ in shown}) < 2:
        return
    top = (max if direction == "max" else min)(value for value, _ in shown)
    for value, cell in shown:
        cell.best = value == top
