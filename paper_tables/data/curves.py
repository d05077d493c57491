"""Numbers taken from logged curves, one per trial: ``jitter(val.top1)``, ``at(val.top1, 0.1)``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from paper_tables.core.errors import suggest

REDUCTIONS = ("jitter", "best", "last", "first", "mean", "at", "change")
_CALL = re.compile(r"(\w+)\(([^(),]+)(?:,\s*([0-9]+|[0-9]*\.[0-9]+)\s*)?\)")
_LIKE_A_CALL = re.compile(r"(\w+)\(([^(),]+)(?:,([^(),]*))?\)?")
SHARED = ("jitter", "mean", "at")
"""Those that take a share of the training: the last of jitter and mean is that long, `at` is where it has passed."""
DEFAULT_SHARE = 0.5


@dataclass(frozen=True)
class CurveMetric:
    """`reduction` of the curve `metric`: for jitter and mean over the last `share` of the training, for `at` the value
    at that share; the others are of the whole curve."""

    reduction: str
    metric: str
    share: float

    def compute(self, steps: NDArray[np.float64], values: NDArray[np.float64], highest: bool) -> float:
        """Return one trial's value; NaN if the curve is too short."""
        if not len(values):
            return math.nan
        end = float(steps[-1])
        if self.reduction == "at":
            reached = values[steps <= self.share * end]
            return float(reached[-1]) if len(reached) else math.nan
        if self.reduction in ("last", "first"):
            return float(values[-1 if self.reduction == "last" else 0])
        if self.reduction == "change":
            return float(values[-1] - values[0]) if len(values) > 1 else math.nan
        if self.reduction == "best":
            return float(np.nanmax(values) if highest else np.nanmin(values)) if np.isfinite(values).any() else math.nan
        late = values[steps > (1 - self.share) * end]
        if self.reduction == "mean":
            return float(late.mean()) if len(late) else math.nan
        changes = np.diff(late)
        return float(np.sqrt(np.mean(changes**2))) if len(changes) > 1 else math.nan


def parse_curve_metric(name: str) -> CurveMetric | None:
    """Return None if the name is not of this form; only jitter, mean and at take a share."""
    found = _CALL.fullmatch(name.strip())
    if found is None or found[1] not in (SHARED if found[3] else REDUCTIONS):
        return None
    share = float(found[3]) if found[3] else DEFAULT_SHARE
    metric = found[2].strip()
    return CurveMetric(found[1], metric, share) if metric and 0 < share <= 1 else None


def slip(name: str, curves: list[str]) -> str:
    """Return what is wrong with a name that looks like a reduced curve, as the end of a message; "" for any other."""
    found = _LIKE_A_CALL.fullmatch(name.strip())
    if found is None:
        return ""
    reduction, metric, share = found[1], found[2].strip(), (found[3] or "").strip()
    if reduction not in REDUCTIONS:
        return f": of curves there are {', '.join(REDUCTIONS)}{suggest(reduction, REDUCTIONS)}".partition("; known")[0]
    if not name.strip().endswith(")"):
        return f": {reduction}(CURVE) ends with a bracket"
    if share and reduction not in SHARED:
        return f": {reduction} takes the curve alone"
    if parse_curve_metric(name) is None:
        return f": {reduction}(CURVE, SHARE) takes a share of the training above 0, at most 1"
    return f": no curve {metric}{suggest(metric, curves)}"


class ByTrial(dict[str, dict[str, pd.DataFrame]]):
    """The curves of each metric, by trial; a metric's are told apart when it is first asked for."""

    def __init__(self, curves: pd.DataFrame) -> None:
        super().__init__()
        self.by_metric = {str(name): group for name, group in curves.groupby("metric", sort=False)}

    def __missing__(self, metric: str) -> dict[str, pd.DataFrame]:
        if metric not in self.by_metric:
            return {}
        self[metric] = {str(name): curve for name, curve in self.by_metric[metric].groupby("trial", sort=False)}
        return self[metric]


def per_trial(curves: pd.DataFrame, wanted: CurveMetric, highest: bool) -> dict[str, float]:
    """Return trial -> value. `curves` holds one metric: columns trial, step, value."""
    found = {}
    for trial, group in curves.sort_values("step", kind="stable").groupby("trial", sort=False):
        steps, values = group["step"].to_numpy(dtype=float), group["value"].to_numpy(dtype=float)
        found[str(trial)] = wanted.compute(steps, values, highest)
    return found
