"""Evaluate claims on measured numbers: each condition, and its controls under the same rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from paper_tables.claims.verdicts import ClaimResult, ConditionResult, Verdict, combine_verdicts, inside, outside
from paper_tables.core.statistics import MIN_SEEDS, Difference, difference, paired, welch
from paper_tables.data.other_studies import StudyFrames, first_available
from paper_tables.schema.claims import Claim, Condition, Control
from paper_tables.schema.published import ArmSelectors, Metrics
from paper_tables.tables.labels import COUNTED_METRICS

LARGEST_LOGARITHM = 700.0
"""Of a number that a float holds, with room for a percentage."""
ROOM = 3
"""A gain is testable where the baseline leaves this many times as much room below 100."""


def judge_claim(claim: Claim, library: StudyFrames) -> ClaimResult:
    if claim.not_testable:
        return ClaimResult(claim, "not testable", ())
    tested = tuple(_test(claim.whole(condition), library) for condition in claim.conditions)
    return ClaimResult(claim, combine_verdicts([one.verdict for one in tested], claim.need), tested)


def _test(condition: Condition, library: StudyFrames) -> ConditionResult:
    """Judge a condition, then its controls; it is not reproduced while a control passes."""
    tested = _measure(condition, library)
    if tested.verdict == "not run":
        return tested
    controls = tuple(_measure(_as_condition(control, condition), library) for control in condition.controls)
    if condition.shown_by:
        controls = tuple(replace(one, verdict="contradicted") for one in controls)
    tested = replace(tested, controls=controls)
    if tested.verdict != "reproduced":
        return tested
    if condition.by_construction:
        return replace(tested, verdict="by construction")
    if any(one.passes for one in controls):
        return replace(tested, verdict="undecided", reason="its control passes")
    if controls and all(one.passes is None for one in controls):
        return replace(tested, verdict="undecided", reason="its control was not run")
    return tested


def _as_condition(control: Control, condition: Condition) -> Condition:
    given = {name: value for name in ("of", "against", "metric", "shown_by") if (value := getattr(control, name))}
    return condition.model_copy(
        update={"label": control.label, "gain": None, "comparable": None, "controls": (), **given}
    )


def _measure(condition: Condition, library: StudyFrames) -> ConditionResult:
    """Compare the quantity with the expected range, or say why not."""
    if condition.shown_by:
        return ConditionResult(condition, "reproduced", n=1)
    frame = library.frame(condition.of[0].get("study", ("",))[0])
    if frame is not None and condition.scales and frame.scale not in condition.scales:
        why = f": {condition.scales_reason}" if condition.scales_reason else ""
        return ConditionResult(condition, "not run", f"can be decided at scale {' or '.join(condition.scales)}{why}")
    metric = condition.metric or ("",)
    theirs_metric = condition.against_metric or metric
    of = first_available(library.all(condition.of), metric)
    against = first_available(library.all(condition.against), theirs_metric)
    blank = ConditionResult(
        condition, "not run", of=of.found if of else None, against=against.found if against else None
    )
    if of is None:
        return replace(blank, reason=_absence(condition.of, metric, library))
    if against is None and condition.against:
        return replace(blank, reason=_absence(condition.against, theirs_metric, library))
    exact = condition.kind == "counted" or of.metric in COUNTED_METRICS
    ours, theirs = of.found.frame.scale, (against or of).found.frame.scale
    if not exact and theirs != ours:
        return replace(blank, verdict="undecided", reason=f"measured at two scales, {ours} and {theirs}")
    if against and condition.gain and (room := 100 - against.summary.mean) < ROOM * condition.gain:
        reason = f"the baseline leaves {room:.1f} points, less than {ROOM} times {condition.gain:g}"
        return replace(blank, verdict="not testable", reason=reason)
    result = quantity(condition, of.values, against.values if against else None)
    if result is None:
        return replace(blank, verdict="undecided", reason="a ratio of numbers that are not positive")
    return _if_comparable(_decide(replace(blank, metric=of.metric), result, exact))


def _if_comparable(tested: ConditionResult) -> ConditionResult:
    """Take back a win of an arm that costs more, and a loss of one that costs less."""
    found, most = (tested.of, tested.against), tested.condition.comparable
    costs = [first_available([one], ["gflops"]) for one in found if one]
    if most is None or len(costs) < 2 or costs[0] is None or costs[1] is None:
        return tested
    ratio = costs[0].summary.mean / costs[1].summary.mean
    if (tested.verdict == "reproduced" and ratio > most) or (tested.verdict == "contradicted" and ratio < 1 / most):
        return replace(tested, verdict="not testable", reason=f"not comparable: {ratio:.2f} times the MACs")
    return tested


def _absence(choice: ArmSelectors, metrics: Metrics, library: StudyFrames) -> str:
    """Return why a selector has no value."""
    found = library.all(choice)
    if not found:
        studies = [chosen["study"][0] for chosen in choice if "study" in chosen]
        gone = [study for study in studies if library.frame(study) is None]
        return f"study {gone[0]} has no results" if gone else "no such arm in these results"
    if not any(one.trials for one in found):
        return f"no trial of {found[0].arm.part} {found[0].arm.label} has finished"
    return f"no finite {metrics[0]} in {found[0].arm.part} {found[0].arm.label}"


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
        return replace(blank, verdict="undecided", n=result.n, reason="a ratio larger than any number here")
    estimate, *interval = (_from_log(blank.condition, end) for end in ends)
    tested = replace(blank, estimate=estimate, n=result.n)
    if half_width is None:
        few = f"n = {result.n}: no interval below {MIN_SEEDS}" if result.n < MIN_SEEDS else "no spread to judge by"
        return replace(tested, verdict="undecided", reason=few)
    low, high = sorted(interval)
    is_inside, is_outside = inside(blank.condition, low, high), outside(blank.condition, low, high)
    verdict: Verdict = "reproduced" if is_inside else "contradicted" if is_outside else "undecided"
    reason = "" if verdict != "undecided" else "the interval crosses the bound"
    return replace(tested, verdict=verdict, reason=reason, low=low, high=high)


def _in_logarithms(condition: Condition) -> bool:
    return bool(condition.against) and condition.compare in ("ratio", "saving")


def _from_log(condition: Condition, value: float) -> float:
    """Convert from the logarithm to the printed value."""
    if not _in_logarithms(condition):
        return value
    return math.exp(value) if condition.compare == "ratio" else 100 * (1 - math.exp(value))
