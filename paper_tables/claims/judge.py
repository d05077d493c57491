"""Evaluate claims on measured numbers: reproduced, contradicted, inconclusive or not run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from paper_tables.core.statistics import MIN_SEEDS, Difference, difference, paired, welch
from paper_tables.data.other_studies import SelectedArm, StudyFrames, first_available
from paper_tables.schema.claims import Claim, Condition
from paper_tables.schema.published import ArmSelectors
from paper_tables.tables.labels import COUNTED_METRICS

Verdict = Literal["reproduced", "contradicted", "inconclusive", "not run"]
LARGEST_LOGARITHM = 700.0
"""Of a number that a float holds, with room for a percentage."""
VERDICTS: tuple[Verdict, ...] = ("reproduced", "contradicted", "inconclusive", "not run")


@dataclass(frozen=True)
class ConditionResult:
    """Result of one condition: estimate, interval, verdict; `reason` if it decides nothing."""

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

    @property
    def scale(self) -> str:
        return self.of.frame.scale if self.of else ""

    @property
    def trials(self) -> tuple[str, ...]:
        found = [one for one in (self.of, self.against) if one and one.folder == (self.of.folder if self.of else "")]
        return tuple(dict.fromkeys(trial for one in found for trial in one.trials))


@dataclass(frozen=True)
class ClaimResult:
    """A claim with the verdict over its conditions."""

    claim: Claim
    verdict: Verdict
    tested: tuple[ConditionResult, ...]


def judge_claim(claim: Claim, library: StudyFrames) -> ClaimResult:
    tested = tuple(_test(condition, claim, library) for condition in claim.conditions)
    return ClaimResult(claim, combine_verdicts([one.verdict for one in tested], claim.need), tested)


def combine_verdicts(verdicts: list[Verdict], need: Literal["all", "any"]) -> Verdict:
    found = set(verdicts)
    if len(found) == 1:
        return verdicts[0]
    if need == "any":
        return "reproduced" if "reproduced" in found else "inconclusive"
    return next(v for v in ("contradicted", "not run", "inconclusive", "reproduced") if v in found)


def _test(condition: Condition, claim: Claim, library: StudyFrames) -> ConditionResult:
    of = first_available(library.all(condition.of), condition.metric)
    against = first_available(library.all(condition.against), condition.metric)
    missing = next((c for c, f in ((condition.of, of), (condition.against, against)) if c and f is None), None)
    blank = ConditionResult(
        condition, "not run", of=of.found if of else None, against=against.found if against else None
    )
    if of is None or missing is not None:
        return replace(blank, reason=_absence(missing or condition.of, condition, library))
    if claim.scales and blank.scale not in claim.scales:
        return replace(blank, reason=f"can be tested at scale {' or '.join(claim.scales)}")
    exact = condition.exact if condition.exact is not None else of.metric in COUNTED_METRICS
    theirs = against.found.frame.scale if against else blank.scale
    if not exact and theirs != blank.scale:
        return replace(blank, verdict="inconclusive", reason=f"measured at two scales, {blank.scale} and {theirs}")
    result = quantity(condition, of.values, against.values if against else None)
    if result is None:
        return replace(blank, verdict="inconclusive", reason="a ratio of numbers that are not positive")
    return _decide(replace(blank, metric=of.metric), result, exact)


def _absence(choice: ArmSelectors, condition: Condition, library: StudyFrames) -> str:
    """Return why a selector has no value."""
    found = library.all(choice)
    if not found:
        studies = [chosen["study"][0] for chosen in choice if "study" in chosen]
        gone = [study for study in studies if library.frame(study) is None]
        return f"study {gone[0]} has no results" if gone else "no such arm in these results"
    if not any(one.trials for one in found):
        return f"no trial of {found[0].arm.part} {found[0].arm.label} has finished"
    return f"no finite {condition.metric[0]} in {found[0].arm.part} {found[0].arm.label}"


def quantity(condition: Condition, of: Mapping[int, float], against: Mapping[int, float] | None) -> Difference | None:
    """Return the compared quantity with its t interval over seeds, in logarithms for ratios; None if undefined."""
    level = condition.interval
    if against is None:
        return difference(list(of.values()), level)
    if condition.compare in ("ratio", "saving"):
        if min(*of.values(), *against.values(), math.inf) <= 0:
            return None
        of, against = ({seed: math.log(v) for seed, v in side.items()} for side in (of, against))
    return paired(of, against, level) or welch(list(of.values()), list(against.values()), level)


def _decide(blank: ConditionResult, result: Difference, exact: bool) -> ConditionResult:
    """Compare the interval with the expected range; without an interval only exact metrics decide."""
    half_width = result.half_width
    if half_width is None and exact:
        half_width = 0.0
    ends = [result.mean] if half_width is None else [result.mean, result.mean - half_width, result.mean + half_width]
    if _in_logarithms(blank.condition) and max(ends) > LARGEST_LOGARITHM:
        return replace(blank, verdict="inconclusive", n=result.n, reason="a ratio larger than any number here")
    estimate, *interval = (_from_log(blank.condition, end) for end in ends)
    tested = replace(blank, estimate=estimate, n=result.n)
    if half_width is None:
        few = f"n = {result.n}: no interval below {MIN_SEEDS}" if result.n < MIN_SEEDS else "no spread to judge by"
        return replace(tested, verdict="inconclusive", reason=few)
    low, high = sorted(interval)
    lower, upper = blank.condition.region()
    slack = 1e-9 * max(1.0, *(abs(bound) for bound in (lower, upper) if math.isfinite(bound)))
    inside = low >= lower - slack and high <= upper + slack
    outside = high < lower - slack or low > upper + slack
    verdict: Verdict = "reproduced" if inside else "contradicted" if outside else "inconclusive"
    reason = "" if verdict != "inconclusive" else "the interval crosses the bound"
    return replace(tested, verdict=verdict, reason=reason, low=low, high=high)


def _in_logarithms(condition: Condition) -> bool:
    return bool(condition.against) and condition.compare in ("ratio", "saving")


def _from_log(condition: Condition, value: float) -> float:
    """Convert from the logarithm to the printed value."""
    if not _in_logarithms(condition):
        return value
    return math.exp(value) if condition.compare == "ratio" else 100 * (1 - math.exp(value))
