"""Controls: what must fail a condition's rule. A rule is fair where they do, open while that is undecided."""

from __future__ import annotations

import math
from dataclasses import replace

from paper_tables.claims.decisions import Docket
from paper_tables.claims.quantity import judged_region, over_seeds
from paper_tables.claims.verdicts import ConditionResult
from paper_tables.schema.claims import Condition, Control

PASSES, OPEN, NOT_RUN = "its control passes", "its control is undecided", "its control was not run"

MOST_LOST = 0.2
"""Share of an arm's trials that may have failed or diverged."""
ALONE = {"gain": None, "comparable": None, "keeps": None, "may_only": None, "controls": ()}
"""What a condition has beside its rule, left out."""


def as_condition(control: Control, condition: Condition) -> Condition:
    """Return the condition's rule about the control."""
    given = {name: value for name in ("of", "against", "metric", "shown_by") if (value := getattr(control, name))}
    return condition.model_copy(update={"label": control.label, **ALONE, **given})


def with_controls(tested: ConditionResult, controls: tuple[ConditionResult, ...], docket: Docket) -> ConditionResult:
    """Return a condition's result with its controls, by which "reproduced" is taken back.

    Where one passes, the rule tells nothing apart. While one is undecided, so is the condition; a verdict that stands
    was made when they had failed.
    """
    controls = tuple(replace(one, worse=_is_worse(one, tested, docket)) for one in controls)
    tested = replace(tested, controls=controls)
    states = {one.as_control for one in controls}
    if tested.verdict != "reproduced":
        return tested
    if tested.condition.by_construction:
        return replace(tested, verdict="by construction")
    if "passes" in states:
        return replace(tested, verdict="not testable", reason=PASSES)
    if tested.kept is None and "undecided" in states:
        return replace(tested, verdict="undecided", reason=OPEN)
    if tested.kept is None and "not run" in states:
        return replace(tested, verdict="undecided", reason=_why_not_run(controls))
    return tested


def _why_not_run(controls: tuple[ConditionResult, ...]) -> str:
    """Return which of a control's trials failed where that left too few; else that there are none."""
    for control in (one for one in controls if one.as_control == "not run" and one.lost):
        return f"{control.lost} of {control.n + control.lost} trials of its control failed"
    return NOT_RUN


def _is_worse(control: ConditionResult, tested: ConditionResult, docket: Docket) -> bool:
    """Return whether an undecided control is clearly worse than the condition, seed by seed.

    A bound on one side is needed: it says in which direction worse is. With a margin, what is worse may be as good as
    the margin asks: there the control's own interval decides. Nor do the survivors of many lost trials.
    """
    low, high = judged_region(tested.condition)
    if tested.condition.non_inferior is not None or control.lost > MOST_LOST * (control.n + control.lost):
        return False
    seeds = sorted(tested.by_seed.keys() & control.by_seed.keys())
    if control.as_control != "undecided" or math.isfinite(low) == math.isfinite(high) or not seeds:
        return False
    sign = 1 if math.isfinite(low) else -1
    better = [sign * (tested.by_seed[seed] - control.by_seed[seed]) for seed in seeds]
    found = over_seeds(better, docket.ruling(tested.condition, [*tested.sides, *control.sides]))
    return found.half_width is not None and found.mean > found.half_width
