"""Evaluate claims on measured numbers: each condition, and its controls under the same rule."""

from __future__ import annotations

import math
from dataclasses import replace

from paper_tables.claims.controls import MOST_LOST, as_condition, with_controls
from paper_tables.claims.decisions import Docket, Ruling, by_seeds, claim_key, exact, read_decisions
from paper_tables.claims.kept_accuracy import accuracy_condition, with_accuracy
from paper_tables.claims.quantity import by_seed, distance, in_logarithms, printed, quantity, unpaired
from paper_tables.claims.seeds_needed import would_decide
from paper_tables.claims.standing import WHOLE_ERROR, standing
from paper_tables.claims.verdicts import ClaimResult, ConditionResult, Verdict, combine_verdicts, inside, outside
from paper_tables.core.sequential import needed_n
from paper_tables.core.statistics import MIN_SEEDS, Difference
from paper_tables.data.other_studies import Measurement, StudyFrames, first_available
from paper_tables.data.predictions import interval_with_images
from paper_tables.schema.claims import Claim, Condition
from paper_tables.schema.published import ArmSelectors, Metrics

LARGEST_LOGARITHM = 700.0
"""Of a number that a float holds, with room for a percentage."""
SAME_ACCURACY = 0.01
"""Points by which accuracies may differ from those of the predictions by rounding."""
WELCH = "Welch's t test: fewer than three seeds in common"
NO_COSTS, NO_RATIO = "multiply-accumulates were not measured", "a ratio of numbers that are not positive"
ROOM = 3
"""A gain is testable where the baseline leaves this many times as much room below 100."""


def judge_claim(claim: Claim, library: StudyFrames) -> ClaimResult:
    if claim.not_testable:
        return ClaimResult(claim, "not testable", ())
    study = library.own.study.partition("@")[0]
    keys = [claim_key(claim, study, condition.study or study) for condition in claim.conditions]
    tested = tuple(judge_condition(key, claim, index, library) for index, key in enumerate(keys))
    return ClaimResult(claim, combine_verdicts([one.verdict for one in tested], claim.need), tested)


def judge_condition(key: str, claim: Claim, index: int, library: StudyFrames) -> ConditionResult:
    """Judge a condition, then its controls; it is not reproduced until they fail and the accuracy is kept.

    What was decided before stands, under `key`, in the folder of the study whose arms it is about.
    """
    condition = claim.whole(claim.conditions[index])
    own = library.frame(condition.study) is library.own
    docket = Docket(key, claim, read_decisions(library.folder if own else library.place(condition.study)))
    tested = _measure(condition, library, docket, index)
    if tested.verdict == "not run":
        return tested
    if condition.may_only and tested.verdict in {"reproduced", "contradicted"} - {condition.may_only}:
        tested = replace(tested, verdict="not testable", reason=condition.may_only_reason)
    controls = tuple(_measure(as_condition(control, condition), library, docket) for control in condition.controls)
    if condition.shown_by:
        controls = tuple(replace(one, verdict="contradicted") for one in controls)
    tested = with_controls(tested, controls, docket)
    if condition.keeps is None or tested.verdict != "reproduced" or tested.kept is not None:
        return tested
    return with_accuracy(tested, _measure(accuracy_condition(condition), library, docket))


def _measure(condition: Condition, library: StudyFrames, docket: Docket, index: int | None = None) -> ConditionResult:
    """Compare the quantity with the expected range, or say why not. `index`: the condition's, None for a control."""
    if condition.shown_by:
        return ConditionResult(condition, "reproduced", n=1)
    frame = library.frame(condition.study)
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
        return _absent(blank, condition.of, metric, library)
    if against is None and condition.against:
        return _absent(blank, condition.against, theirs_metric, library)
    blank = replace(blank, metric=of.metric, by_seed=by_seed(condition, of.values, against.values if against else None))
    if not by_seeds(condition, of.metric):
        return _apart(blank, against) or _decide(blank, of, against, Ruling())
    decide = of.found.frame.metadata.decide
    ruling = docket.ruling(condition, blank.sides)
    if index is None:
        ruling = replace(ruling, constant=True, several=1)
    if decide and (past := docket.past(index, decide)):
        blank = standing(blank, past, of, against, len(decide.looks))
        if blank.kept is not None:
            return _beside(replace(blank, remarks=(*ruling.changed, *blank.remarks)))
    if exact(condition, of.metric):
        blank = replace(blank, look=ruling.look, error=ruling.error, remarks=(*ruling.changed, *blank.remarks))
        return _apart(blank, against) or _decide(blank, of, against, Ruling())
    return _judge(blank, of, against, ruling)


def _apart(blank: ConditionResult, against: Measurement | None) -> ConditionResult | None:
    """Return that its sides were measured at two scales, if they were: also costs hang on images and classes."""
    scales = [side.frame.scale for side in blank.sides]
    if against is None or scales[0] == scales[-1]:
        return None
    return replace(blank, verdict="undecided", reason=f"measured at two scales, {' and '.join(scales)}")


def _judge(blank: ConditionResult, of: Measurement, against: Measurement | None, ruling: Ruling) -> ConditionResult:
    """Judge what differs from seed to seed by the interval of this many seeds."""
    remarks = (*ruling.changed, *blank.remarks, *ruling.remarks)
    blank = replace(blank, look=ruling.look, error=ruling.error, remarks=remarks)
    blank = replace(blank, error_outside=ruling.to_contradict().error)
    condition = blank.condition
    if apart := _apart(blank, against):
        return apart
    if against and condition.gain and (room := 100 - against.summary.mean) < ROOM * condition.gain:
        reason = f"the baseline leaves {room:.1f} points, less than {ROOM} times {condition.gain:g}"
        return replace(blank, verdict="not testable", reason=reason)
    tested = _if_comparable(_decide(blank, of, against, ruling))
    tested = tested if ruling.sequence else _beside(tested)  # Student's t would be narrower than what holds at every n
    lost = [_lost(one) for one in (of, against) if one]
    tested = replace(tested, lost=max(n for n, _ in lost))
    if reason := next((reason for _, reason in lost if reason), ""):
        return replace(tested, verdict="undecided", reason=reason)
    return replace(tested, remarks=(*tested.remarks, *would_decide(tested, _can_be_decided(tested))))


def _can_be_decided(tested: ConditionResult) -> bool:
    """Return whether more seeds with this estimate give a verdict, and not one that is taken back."""
    if tested.estimate is None:
        return False
    missed = outside(tested.condition, tested.estimate, tested.estimate)
    come: Verdict = "contradicted" if missed else "reproduced"
    return tested.condition.may_only in (None, come) and _if_comparable(replace(tested, verdict=come)).verdict == come


def _lost(measured: Measurement) -> tuple[int, str]:
    """Return how many trials have no value, and the objection if they are too many for the others to speak."""
    frame, arm = measured.found.frame, measured.found.arm
    lost, ended = frame.without_value(arm, measured.metric), len(frame.ended(arm))
    text = f"{lost} of {ended} trials of {arm.part} {arm.label} failed or diverged"
    return lost, text if lost > MOST_LOST * ended else ""


def _if_comparable(tested: ConditionResult) -> ConditionResult:
    """Take back a win of an arm that costs more, and a loss of one that costs less."""
    found, most = (tested.of, tested.against), tested.condition.comparable
    costs = [first_available([one], ["gflops"]) for one in found if one]
    if most is None or tested.verdict not in ("reproduced", "contradicted"):
        return tested
    if len(costs) < 2 or costs[0] is None or costs[1] is None or costs[1].summary.mean <= 0:
        return replace(tested, verdict="undecided", reason=NO_COSTS)
    ratio = costs[0].summary.mean / costs[1].summary.mean
    if (tested.verdict == "reproduced" and ratio > most) or (tested.verdict == "contradicted" and ratio < 1 / most):
        return replace(tested, verdict="not testable", reason=f"not comparable: {ratio:.2f} times the MACs")
    return tested


def _beside(tested: ConditionResult) -> ConditionResult:
    """Add the interval that includes the images, where the predictions are those of the accuracies."""
    of, against = tested.of, tested.against
    if of is None or of.frame.images is None or tested.metric != "top1" or in_logarithms(tested.condition):
        return tested
    if tested.estimate is None or (against and against.frame is not of.frame):
        return tested
    sides = [
        {seed: trial for seed, trial in side.frame.trial_by_seed(side.arm).items() if trial in tested.trials}
        for side in tested.sides
    ]
    found = interval_with_images(of.frame.images, sides[0], sides[1] if against else None, 1 - tested.error)
    if found is None or abs(found[0] - tested.estimate) > SAME_ACCURACY:
        return tested
    return replace(tested, with_images=(tested.estimate - found[1], tested.estimate + found[1]))


def _absent(blank: ConditionResult, choice: ArmSelectors, metrics: Metrics, library: StudyFrames) -> ConditionResult:
    """Return the result of a condition of which one side has no value: it was not run, or all of its trials failed."""
    for found in library.all(choice):
        if (lost := len(found.frame.ended(found.arm))) and not found.trials:
            reason = f"{lost} of {lost} trials of {found.arm.part} {found.arm.label} failed or diverged"
            return replace(blank, verdict="undecided", reason=reason, lost=lost, of=blank.of or found)
    return replace(blank, reason=_absence(choice, metrics, library))


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


def _decide(blank: ConditionResult, of: Measurement, against: Measurement | None, ruling: Ruling) -> ConditionResult:
    """Compare the interval with the expected range; without an interval only what is counted decides."""
    condition = blank.condition
    result = quantity(condition, of.values, against.values if against else None, ruling)
    if result is None:
        return replace(blank, verdict="undecided", reason=NO_RATIO)
    half_width = result.half_width
    constant = ruling.constant and result.p is None and result.n >= MIN_SEEDS
    if half_width is None and (constant or exact(condition, of.metric)):
        half_width = 0.0
    ends = [result.mean] if half_width is None else [result.mean, result.mean - half_width, result.mean + half_width]
    if in_logarithms(condition) and max(ends) > LARGEST_LOGARITHM:
        return replace(blank, verdict="undecided", n=result.n, reason="a ratio larger than any number here")
    estimate, *interval = (printed(condition, end) for end in ends)
    tested = replace(blank, estimate=estimate, n=result.n, sd=result.sd)
    if half_width is None:
        return replace(tested, verdict="undecided", reason=_no_interval(result))
    if against and unpaired(of.values, against.values):
        tested = replace(tested, remarks=(*tested.remarks, WELCH))
    low, high = sorted(interval)
    tested = replace(tested, low=low, high=high)
    if constant and math.isclose(distance(condition, result.mean), 0, abs_tol=1e-9):
        return replace(tested, verdict="contradicted")  # two models that guess alike: equal is not better
    if inside(condition, low, high):
        return replace(tested, verdict="reproduced")
    out, reason, other = outside(condition, low, high), "the interval crosses the bound", ruling.to_contradict()
    if ruling.several > 1 and out == (ruling.need == "all") and _outside_at(condition, of, against, other) != out:
        if not out:
            return replace(tested, verdict="contradicted", remarks=(*tested.remarks, WHOLE_ERROR))
        at, not_at = (f"{100 * (1 - one.error):.3g} %" for one in (ruling, other))
        out, reason = False, f"outside at {at}, not at {not_at} as one of {ruling.several}"
    if out:
        return replace(tested, verdict="contradicted")
    level = (other if outside(condition, estimate, estimate) else ruling).error
    level = ruling.at_a_look(level) if ruling.sequence else level
    needed = needed_n(distance(condition, result.mean), result.sd or 0.0, level)
    return replace(tested, verdict="undecided", reason=reason, needed=needed)


def _outside_at(condition: Condition, of: Measurement, against: Measurement | None, ruling: Ruling) -> bool:
    result = quantity(condition, of.values, against.values if against else None, ruling)
    if result is None or result.half_width is None:
        return False
    low, high = sorted(printed(condition, result.mean + sign * result.half_width) for sign in (-1, 1))
    return outside(condition, low, high)


def _no_interval(result: Difference) -> str:
    if result.n < MIN_SEEDS:
        return f"n = {result.n}: no interval below {MIN_SEEDS}"
    return "no spread to judge by" if result.p is None else "too few seeds for an interval that holds at every n"
