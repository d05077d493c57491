"""Of conditions with `keeps`: whether the accuracy was kept, without which speed or size say nothing."""

from __future__ import annotations

from dataclasses import replace

from paper_tables.claims.controls import ALONE
from paper_tables.claims.verdicts import ConditionResult
from paper_tables.schema.claims import RULES, Condition

OPEN, NOT_MEASURED = "whether top-1 is kept is undecided", "top-1 was not measured"


def accuracy_condition(condition: Condition) -> Condition:
    """Return the condition that top-1 is not below that of `against` by more than `keeps`."""
    rule = {**dict.fromkeys((*RULES, "compare", "against_metric")), "tolerance": 0.0, "non_inferior": condition.keeps}
    return condition.model_copy(update={**ALONE, **rule, "kind": "sampled", "metric": ("top1",)})


def with_accuracy(tested: ConditionResult, accuracy: ConditionResult) -> ConditionResult:
    """Return a reproduced condition's result, taken back unless its accuracy was kept."""
    if accuracy.estimate is None:
        return replace(tested, verdict="undecided", reason=NOT_MEASURED)
    ends = "" if accuracy.low is None else f" ({accuracy.low:.1f} to {accuracy.high:.1f})"
    seen = f"top-1 {accuracy.estimate:+.1f}{ends}".replace("-", "−").replace("top−1", "top-1")
    tested = replace(tested, remarks=(*tested.remarks, seen), lost=max(tested.lost, accuracy.lost))
    if accuracy.verdict == "reproduced":
        return tested
    if accuracy.verdict == "contradicted":
        return replace(tested, verdict="not testable", reason=f"its top-1 is lower by {-accuracy.estimate:.1f} points")
    return replace(tested, verdict="undecided", reason=OPEN)
