"""What the looks of a study can tell, for `plan`: the differences that are decided by each look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from paper_tables.claims.decisions import Decisions, Docket, exact, whole_error
from paper_tables.claims.judge import judge_condition
from paper_tables.claims.looks import DECIDE, condition_name, conditions
from paper_tables.claims.quantity import in_logarithms
from paper_tables.claims.verdicts import ConditionResult
from paper_tables.core import sequential
from paper_tables.core.errors import TableError
from paper_tables.core.text import two_digits
from paper_tables.data.load import load_frame, tidy_frame
from paper_tables.data.other_studies import StudyFrames

ASSUMED, ASSUMED_RATIO = 1.0, 0.05
"""SD over seeds where nothing was run yet: in the metric's unit (points), or of logarithms."""


def plan_power(spec: Path | None, folder: Path, decide: Mapping[str, Any], scale: str) -> list[str]:
    """Return lines for `plan`: the distance from its bound that each condition over seeds can tell at each look.

    With the spread of the results in `folder`, where a condition has an interval there, else with an assumed one.
    `scale`: of the plan, for claims that are decided at some scales only.
    """
    rules = DECIDE.validate_python(dict(decide))
    rows, errors = list[tuple[str, list[str], str]](), set[float]()
    try:
        own = load_frame(folder)
    except TableError:  # nothing has been run
        own = tidy_frame(pd.DataFrame(), pd.DataFrame(), {"scale": scale})
    for key, claim, index in conditions(spec):
        tested = judge_condition(key, claim, index, StudyFrames(folder, own))
        if not exact(tested.condition) and scale in (tested.condition.scales or [scale]):
            error = round(whole_error(tested.condition, rules), 9)
            errors.add(error)
            level = sequential.nominal_error(rules.looks, error * Docket(key, claim, Decisions()).error_share)
            rows.append((condition_name(key, claim, index), *_told(tested, sequential.detectable(rules.looks, level))))
    if not rows:
        return []
    width = max(len(name) for name, _, _ in rows)
    lines = [(" " * 10 + f"{name:{width}}", told, about) for name, told, about in rows]
    lines.insert(0, (f"{'power':10}{'n':>{width}}", [str(n) for n in rules.looks], "seeds"))
    wrong = " or ".join(f"{100 * error:g} %" for error in sorted(errors))
    about = f"a condition this far from its bound is decided by then in 80 % of cases, wrongly in {wrong}"
    return [
        *(f"{left} {' '.join(f'{text:>7}' for text in told)}   {right}" for left, told, right in lines),
        " " * 10 + about,
    ]


def _told(tested: ConditionResult, distances: tuple[float, ...]) -> tuple[list[str], str]:
    """Return the distances, in per cent for ratios, and what they are of: "top1, SD 0.64 over 3 seeds"."""
    if tested.kept is not None:
        return ["-"] * len(distances), f"{tested.verdict} at look {tested.look}"
    ratio, seen = in_logarithms(tested.condition), tested.sd is not None and tested.low is not None
    sd = tested.sd if seen and tested.sd else ASSUMED_RATIO if ratio else ASSUMED
    shown = [f"{two_digits(100 * math.expm1(min(sd * d, 9)))} %" if ratio else two_digits(sd * d) for d in distances]
    spread = f"SD {two_digits(100 * sd)} %" if ratio else f"SD {two_digits(sd)}"
    metric = tested.metric or (tested.condition.metric or ("",))[0]
    return shown, f"{metric}, " + (f"{spread} over {tested.n} seeds" if seen else f"assumed {spread}")
