"""Metrics of a study that no finished trial has: a column of blanks, most often a misspelt name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from studies.engine.core.formatting import first_few
from studies.engine.core.suggest import suggest
from studies.engine.results.readings import read, value
from studies.engine.storage.plan_file import PlanFile, PlannedMetric
from studies.engine.storage.results_dir import Store

SHOWN = 6


def blank_metrics(store: Store, plan: PlanFile) -> str:
    """Return in one line which metrics no finished trial has, with the nearest names it has; empty if all are there."""
    missing, known = dict(plan.metrics), dict[str, None]()
    for folder in dict.fromkeys(trial.folder for trial in plan.trials):
        if not missing:
            break
        got = read(store.trial(folder), replace(plan, metrics=missing))  # the rest costs no second look at the curves
        if got.status == "done":
            missing = {name: metric for name, metric in missing.items() if value(name, metric, got) is None}
            known |= dict.fromkeys((*got.latest, *_names(got.result.get("metrics") or {})))
    if not (known and missing):
        return ""
    return "no finished trial has " + first_few([_described(*item, list(known)) for item in missing.items()], SHOWN)


def _names(metrics: dict[str, Any]) -> list[str]:
    """Return the names in a result: those of `best` and `last` too."""
    return [*metrics, *(name for inner in metrics.values() if isinstance(inner, dict) for name in inner)]


def _described(name: str, metric: PlannedMetric, known: list[str]) -> str:
    wanted = name if metric.source in (None, "best", "last") else str(metric.source)
    nearest = suggest(wanted, known).removeprefix(", ")
    return (wanted if metric.source is None else f"{name} from {metric.source}") + f" ({nearest})" * bool(nearest)
