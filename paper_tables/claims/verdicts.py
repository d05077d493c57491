"""Verdicts: of a condition with what it was judged by, of a claim as the sum of its conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from paper_tables.core.statistics import MIN_SEEDS
from paper_tables.data.other_studies import SelectedArm
from paper_tables.schema.claims import Claim, Condition

Verdict = Literal[
    "reproduced", "partly reproduced", "contradicted", "undecided", "by construction", "not testable", "not run"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class ConditionResult:
    """Result of one condition: estimate, interval, verdict, its controls; `reason` if it decides nothing."""

    condition: Condition
    verdict: Verdict
    reason: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    metric: str = ""
    of: SelectedArm | None = None
    against: SelectedArm | None = None
    controls: tuple[ConditionResult, ...] = ()
    """The controls as conditions with the same rule; their label is the control's."""
    look: str = ""
    """The look that decided, or that was the last one: "2 of 5"; "" where seeds are not added look by look."""
    error: float = 0.05
    """Of the interval; smaller than that of the verdict where there are several looks, or "any" of some conditions."""
    error_outside: float = 0.05
    """Of the interval that contradicts: another one where a claim has several conditions."""
    sd: float | None = None
    """Of the values, on the scale on which they are judged (logarithms for ratios)."""
    needed: int | None = None
    """Seeds that would decide at this estimate and spread."""
    lost: int = 0
    """Trials that failed or diverged, of the arm with most of them."""
    by_seed: Mapping[int, float] = field(default_factory=dict)
    """The quantity of each seed on the scale on which it is judged; empty where arms are not compared seed by seed."""
    worse: bool = False
    """Of a control: clearly worse than its condition, seed by seed, which decides where its own interval does not."""
    with_images: tuple[float, float] | None = None
    """The interval for other images too; `low` and `high` speak of other seeds with these validation images."""
    remarks: tuple[str, ...] = ()
    kept: tuple[str, ...] | None = None
    """The trials of a verdict that stood before the arms had their present ones."""

    @property
    def scale(self) -> str:
        """The scale of the numbers; "any" where they are shown by a test, or counted and the same for all seeds."""
        if self.condition.shown_by or (self.condition.kind == "counted" and self.low == self.high):
            return "any"
        return self.of.frame.scale if self.of else ""

    @property
    def sides(self) -> list[SelectedArm]:
        return [side for side in (self.of, self.against) if side is not None]

    @property
    def trials(self) -> tuple[str, ...]:
        if self.kept is not None:
            return self.kept
        found = [one for one in self.sides if one.folder == (self.of.folder if self.of else "")]
        return tuple(dict.fromkeys(trial for one in found for trial in one.trials))

    @property
    def as_control(self) -> Literal["passes", "fails", "undecided", "not run"]:
        """Of a control: whether it satisfies the rule; "not run" also for too few seeds."""
        if self.verdict in ("reproduced", "by construction"):
            return "passes"
        if self.verdict == "contradicted" or self.worse:
            return "fails"
        return "undecided" if self.estimate is not None and self.n >= MIN_SEEDS else "not run"

    @property
    def passes(self) -> bool | None:
        """Of a control: None while it neither passes nor fails."""
        return {"passes": True, "fails": False}.get(self.as_control)


@dataclass(frozen=True)
class ClaimResult:
    """A claim with the verdict over its conditions."""

    claim: Claim
    verdict: Verdict
    tested: tuple[ConditionResult, ...]

    @property
    def scale(self) -> str:
        """The scales of its numbers; "any" if all is counted or shown, "" if there are none."""
        scales = list(dict.fromkeys(one.scale for one in self.tested if one.n and one.scale))
        return ", ".join([scale for scale in scales if scale != "any"] or scales)


def combine_verdicts(verdicts: list[Verdict], need: Literal["all", "any"]) -> Verdict:
    """Sum up. What holds by construction decides nothing beside other conditions; a failing one makes the claim
    contradicted, or partly reproduced if another holds; an undecided one leaves open what holds otherwise."""
    if need == "any":
        order: list[Verdict] = ["reproduced", "by construction", "undecided", "not run", "not testable", "contradicted"]
        return next(v for v in order if v in verdicts)
    found = set(verdicts) - {"by construction"} or {"by construction"}
    if len(found) == 1:
        return next(v for v in VERDICTS if v in found)
    if "contradicted" in found:
        return "partly reproduced" if "reproduced" in found else "contradicted"
    if "undecided" in found:
        return "undecided"
    return "partly reproduced" if "reproduced" in found else "not run"


def inside(condition: Condition, low: float, high: float) -> bool:
    lower, upper = _bounds(condition)
    return low >= lower and high <= upper


def outside(condition: Condition, low: float, high: float) -> bool:
    lower, upper = _bounds(condition)
    return high < lower or low > upper


def _bounds(condition: Condition) -> tuple[float, float]:
    """Return the expected range, wider by rounding errors."""
    lower, upper = condition.region()
    slack = 1e-9 * max(1.0, *(abs(bound) for bound in (lower, upper) if math.isfinite(bound)))
    return lower - slack, upper + slack
