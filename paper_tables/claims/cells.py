"""What the tables of claims print of a condition: its description, expected range, measured value, controls, look."""

from __future__ import annotations

from paper_tables.claims.verdicts import ConditionResult
from paper_tables.core.text import escape_markup
from paper_tables.data.other_studies import SelectedArm
from paper_tables.schema.claims import Condition
from paper_tables.schema.published import ArmSelectors
from paper_tables.tables.grid import Cell, fixed
from paper_tables.tables.labels import Names, automatic_digits


def label(tested: ConditionResult, names: Names) -> str:
    """ "top-1: recursion 2 − recursion 1"."""
    condition = tested.condition
    if condition.label:
        return condition.label
    head = names.metric(tested.metric or (condition.metric or ("",))[0]).head
    of = _arm(tested.of, condition.of, names)
    if not condition.against:
        return f"{head}: {of}"
    against = _arm(tested.against, condition.against, names)
    sign = {"ratio": " / ", "saving": " saved against "}.get(condition.compare or "", " − ")
    return f"{head}: {of}{sign}{against}"


def _arm(found: SelectedArm | None, choice: ArmSelectors, names: Names) -> str:
    if found is None:
        text = (f"{k} {'|'.join(v)}" if k not in ("part", "arm") else "|".join(v) for k, v in choice[0].items())
        return escape_markup(", ".join(text).replace("_", " "))
    known = Names(names.spec, found.frame)
    own = known.arm(found.arm)
    chosen = choice[0].keys() - {"study", "part", "arm"}
    said = known.coords(found.arm, [axis for axis in found.arm.coords if axis in chosen]) or own
    part = known.part(found.arm.part)
    return part if said == "baseline" else f"{part}, {said}" if len(found.frame.parts) > 1 else said


def expected(condition: Condition) -> str:
    """ "≥ 1.1", "1 to 3 %"; a margin with its name: "≥ −1 (not inferior)"."""
    if condition.shown_by:
        return "shown by a test"
    low, high = condition.region()
    unit = " %" if condition.compare == "saving" else ""
    if condition.about is not None:
        text = f"{condition.about:g} ± {condition.tolerance:g}"
    elif condition.equivalent is not None:
        text = f"{low:g} to {high:g} (equivalent)"
    elif condition.between is not None:
        text = f"{low:g} to {high:g}"
    else:
        text = f"≤ {high:g}" if condition.at_most is not None else f"≥ {low:g}"
    margin = " (not inferior)" if condition.non_inferior is not None else ""
    kept = f", top-1 at most {condition.keeps:g} below" if condition.keeps else ""
    return f"{text}{unit}{margin}".replace("-", "−") + kept


def controls(tested: ConditionResult) -> str:
    """ "untrained: 0.11 (0.08 to 0.14) fails"; what it is worth where it decides nothing."""
    lines = []
    if not tested.controls and tested.condition.kind in ("sampled", "measured") and tested.estimate is not None:
        return "none"
    for one in tested.controls:
        value = "" if one.estimate is None else _measured(one, images=False)
        lines.append(" ".join([f"{one.condition.label}:", *([value] if value else []), _worth(one)]))
    return "; ".join(lines)


def _worth(control: ConditionResult) -> str:
    few = control.as_control == "not run" and control.estimate is not None
    return f"(n = {control.n})" if few else control.as_control


def measured(tested: ConditionResult) -> Cell:
    """Return the estimate with its interval in parentheses, and beside it that for other images; "yes" for what a
    test shows."""
    if tested.condition.shown_by:
        return Cell(text="yes")
    if tested.estimate is None:
        return Cell(text="—")
    folder = tested.of.folder if tested.of else ""
    digits = _digits(tested)
    return Cell(tested.estimate, text=_measured(tested), n=tested.n, digits=digits, trials=tested.trials, study=folder)


def _measured(tested: ConditionResult, images: bool = True) -> str:
    """ "+2.0 (1.1 to 2.9; images: 0.3 to 3.7)"."""
    assert tested.estimate is not None
    digits = _digits(tested)
    signed = tested.condition.against and tested.condition.compare in (None, "difference")
    text = fixed(tested.estimate, digits, bool(signed))
    if tested.low is not None and tested.high is not None and tested.low != tested.high:
        text += f" ({fixed(tested.low, digits)} to {fixed(tested.high, digits)}"
        if images and tested.with_images:
            text += f"; images: {fixed(tested.with_images[0], digits)} to {fixed(tested.with_images[1], digits)}"
        text += ")"
    return text.replace("-", "−") + (" %" if tested.condition.compare == "saving" else "")


def _digits(tested: ConditionResult) -> int:
    if tested.condition.digits is not None:
        return tested.condition.digits
    return max(automatic_digits(v for v in (tested.estimate, tested.low, tested.high) if v is not None), 1)


def seeds(tested: ConditionResult) -> str:
    """The number of seeds; of what was counted or shown, nothing."""
    return str(tested.n) if tested.n and tested.scale != "any" else ""
