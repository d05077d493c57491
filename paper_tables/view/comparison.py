"""Two arms compared by one metric, with the numbers of the tables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from paper_tables.core.statistics import MIN_SEEDS, Difference, paired
from paper_tables.core.text import join_and, plain
from paper_tables.data.other_studies import SelectedArm
from paper_tables.site.study_tables import StudyTables
from paper_tables.tables.grid import ALPHA, Cell, fixed
from paper_tables.view import page
from paper_tables.view.select import Wanted, metric_of, select_arm, wrong

if TYPE_CHECKING:
    import pandas as pd

MOST_DIGITS = 8


@dataclass(frozen=True, repr=False)
class Comparison:
    """`arm` minus `against`, paired by seed. In a notebook it shows itself.

    `p` is that of the paired t test, `p_holm` after Holm's correction over the `tests` differences of the study's
    tables and figures: None where this difference is not among them. Below three pairs there are no interval and no p.
    """

    metric: str
    unit: str
    arm: str
    against: str
    n: int
    difference: float
    low: float | None
    high: float | None
    level: float
    p: float | None
    p_holm: float | None
    tests: int
    values: tuple[dict[int, float], dict[int, float]]
    """Seed -> value of each of the two."""

    @property
    def significant(self) -> bool:
        """Whether the tables give it a star."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @cached_property
    def data(self) -> pd.DataFrame:
        """The two values of each common seed, and their difference."""
        import pandas as pd

        mine, theirs = self.values
        seeds = sorted(mine.keys() & theirs.keys())
        pairs = pd.DataFrame({self.arm: [mine[s] for s in seeds], self.against: [theirs[s] for s in seeds]})
        pairs.index = pd.Index(seeds, name="seed")
        return pairs.assign(difference=pairs[self.arm] - pairs[self.against])

    def __repr__(self) -> str:
        digits = self._digits()
        unit = " points" if self.unit == "%" else f" {self.unit}".rstrip()
        text = f"{self.metric}: {self.arm} − {self.against} = {_number(self.difference, digits, True)}{unit}"
        return ", ".join(part for part in (text, self._interval(digits), self._test(), f"n = {self.n}") if part)

    def _repr_html_(self) -> str:
        digits, data = self._digits(), self.data
        means = [_number(float(data[name].mean()), digits) for name in (self.arm, self.against)]
        rows = [[name, mean, "", "", ""] for name, mean in zip((self.arm, self.against), means, strict=True)]
        tests = ["" if p is None else f"{p:.2g}" for p in (self.p, self.p_holm)]
        rows.append(["difference", _number(self.difference, digits, True), self._ends(digits), *tests])
        unit = f" ({self.unit})" if self.unit else ""
        heads = ["", f"{self.metric}{unit}", f"{100 * self.level:g} % interval", "p", "p after Holm"]
        return page.framed(page.plain_table(heads, rows), page.paragraph(self._about()))

    def _about(self) -> str:
        """ "Paired by seed, n = 5 (tpc_vit baseline has 20); Holm's correction is over 19 differences"."""
        both = zip((self.arm, self.against), self.values, strict=True)
        more = join_and([f"{name} has {len(values)}" for name, values in both if len(values) > self.n])
        text = f"Paired by seed, n = {self.n}{f' ({more})' if more else ''}"
        if self.p is None:
            return f"{text}."
        if self.p_holm is None:
            return f"{text}; not among the {self.tests} differences of the study's tables, so not corrected."
        return f"{text}; Holm's correction is over the {self.tests} differences of the study's tables."

    def _digits(self) -> int:
        """Return decimals that show three digits of the difference, and two at least."""
        size = abs(self.difference)
        return min(max(2, 2 - math.floor(math.log10(size))), MOST_DIGITS) if size else 2

    def _interval(self, digits: int) -> str:
        ends = self._ends(digits)
        return ends if self.low is None else f"{100 * self.level:g} % interval {ends}"

    def _ends(self, digits: int) -> str:
        if self.low is None or self.high is None:
            return "no interval below three pairs" if self.n < MIN_SEEDS else "no spread to test with"
        return f"{_number(self.low, digits)} to {_number(self.high, digits)}"

    def _test(self) -> str:
        if self.p is None:
            return ""
        if self.p_holm is None:
            return f"p = {self.p:.2g}, not among the {self.tests} differences of the study's tables"
        return f"p = {self.p:.2g}, {self.p_holm:.2g} after Holm over {self.tests} differences"


def compare(study: StudyTables, arm: Wanted, against: Wanted | None, metric: str | None, level: float) -> Comparison:
    """Return the comparison with another arm, by default the baseline of the arm's part. Raises TableError."""
    frame = study.library.own
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise wrong(frame, f"level={level!r}: the interval's share, between 0 and 1, such as 0.95")
    one, name = select_arm(study.library, arm), metric_of(frame, metric)
    other = _baseline(one) if against is None else select_arm(study.library, against)
    if one.arm is other.arm:
        raise wrong(frame, f"{_name(one)} is compared with itself: name another arm in against=")
    mine, theirs = frame.values(one.arm, name), frame.values(other.arm, name)
    for side, values in ((one, mine), (other, theirs)):
        if not values:
            why = frame.unfinished([side.arm]) or "its finished trials have no finite value"
            raise wrong(frame, f"{_name(side)} has no {name} yet: {why}")
    result = paired(mine, theirs, level)
    if result is None:
        raise wrong(frame, f"{_name(one)} and {_name(other)} have no seed in common")
    return _comparison(study, name, one, other, result, level, (mine, theirs))


def _comparison(
    study: StudyTables, metric: str, one: SelectedArm, other: SelectedArm, result: Difference, level: float,
    values: tuple[dict[int, float], dict[int, float]],
) -> Comparison:  # fmt: skip
    tested = metric, frozenset((side.arm.part, side.arm.label) for side in (one, other))
    adjusted = study.family.adjusted(Cell(result.mean, p=result.p, tested=tested))
    half = result.half_width
    return Comparison(
        metric, plain(study.names.metric(metric).unit), _name(one), _name(other), result.n, result.mean,
        None if half is None else result.mean - half, None if half is None else result.mean + half, level,
        result.p, adjusted, study.family.sizes["t"], values,
    )  # fmt: skip


def _baseline(one: SelectedArm) -> SelectedArm:
    base = one.frame.baseline(one.arm.part)
    if base is None:
        raise wrong(one.frame, f"part {one.arm.part} has no baseline: name another arm in against=")
    if base is one.arm:
        raise wrong(one.frame, f"{_name(one)} is the baseline: name another arm in against=")
    return SelectedArm(one.frame, base)


def _name(one: SelectedArm) -> str:
    return f"{one.arm.part} {one.arm.label}" if len(one.frame.parts) > 1 else one.arm.label


def _number(value: float, digits: int, signed: bool = False) -> str:
    return fixed(value, digits, signed).replace("-", "−")
