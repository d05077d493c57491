"""Verdicts that stand: of an earlier look, as long as the trials that it judged are there with the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paper_tables.claims.decisions import Decision, Ruling
from paper_tables.claims.quantity import printed, quantity
from paper_tables.claims.verdicts import ConditionResult, outside
from paper_tables.data.other_studies import Measurement
from paper_tables.schema.claims import Condition

SAME = 1e-9
"""Relative and absolute difference up to which an estimate is the recorded one."""

WHOLE_ERROR = "judged by the whole error: the claim is contradicted only if all of its tests are"
"""Said where a condition is contradicted, of which any is enough, though the interval that is printed has the bound."""


def standing(
    blank: ConditionResult, past: Sequence[Decision], of: Measurement, against: Measurement | None, looks: int
) -> ConditionResult:
    """Return the result with the first decision that stands, `kept` then being its trials; else with a remark on the
    last one that does not. past: decisions under the present rule; looks: how many the study has."""
    there = [one for one in past if rests_on(one, blank.condition, of, against)]
    remarks = blank.remarks
    if gone := [one for one in past if one not in there]:
        when = f"look {gone[-1].look} of {looks}, n = {gone[-1].n}: {gone[-1].verdict}"
        remarks = (*remarks, f"decided before on other trials ({when}); judged again")
    found = there[0] if there else None
    if found is None or not found.standing:
        return replace(blank, remarks=remarks)
    if found.verdict == "contradicted" and not outside(blank.condition, found.low or 0.0, found.high or 0.0):
        remarks = (*remarks, WHOLE_ERROR)
    return replace(
        blank, verdict=found.standing, look=f"{found.look} of {looks}", n=found.n, error=found.level, kept=found.trials,
        estimate=found.estimate, low=found.low, high=found.high, remarks=remarks,
    )  # fmt: skip


def rests_on(decision: Decision, condition: Condition, of: Measurement, against: Measurement | None) -> bool:
    """Return whether the trials of a decision are among those of the arms, and give its estimate; and whether those of
    its controls are done."""
    own = [one for one in (of, against) if one is not None and one.found.folder == of.found.folder]
    frame = of.found.frame
    if decision.controls and not {*decision.controls} <= {t for arm in frame.arms for t in frame.finished_trials(arm)}:
        return False
    if not {*decision.trials} <= {trial for one in own for trial in one.found.trials}:
        return False
    ours, *theirs = (_values(decision, one) if one in own else one.values for one in (of, against) if one is not None)
    if decision.estimate is None or not ours or (theirs and not theirs[0]):
        return decision.estimate is None
    result = quantity(condition, ours, theirs[0] if theirs else None, Ruling())
    estimate = math.nan if result is None else printed(condition, result.mean)
    return math.isclose(estimate, decision.estimate, rel_tol=SAME, abs_tol=SAME)


def _values(decision: Decision, measured: Measurement) -> dict[int, float]:
    trials = measured.found.frame.trial_by_seed(measured.found.arm)
    return {seed: value for seed, value in measured.values.items() if trials[seed] in decision.trials}
