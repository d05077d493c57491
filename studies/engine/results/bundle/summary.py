"""results.json of an export: every mean with its task, data set, unit and trials; the claims with their verdicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.config import get
from studies.engine.core.files import read_json
from studies.engine.results.readings import Reading, ordered, value
from studies.engine.storage.plan_file import PlanFile, PlannedTrial

RENDERED = "tables/.rendered.json"
"""What the last rendering recorded, the claims of the study among it."""
CLAIM_KEYS = ("name", "paper", "where", "text", "kind", "verdict", "scale", "why", "tests")
Specs = Mapping[str, Mapping[str, Any]]


def summary(plan: PlanFile, readings: Mapping[str, Reading], specs: Specs) -> dict[str, Any]:
    """Return the contents of results.json. A result is a metric of an arm: the mean over its finished seeds."""
    arms: dict[tuple[str, str], list[PlannedTrial]] = {}
    for trial in ordered(plan):
        arms.setdefault((trial.part, trial.arm), []).append(trial)
    return {
        "study": plan.study,
        "title": plan.title,
        "label": plan.label,
        "scale": plan.scale,
        "results": [line for trials in arms.values() for line in _arm(plan, trials, readings, specs)],
        "claims": claims(plan.folder),
    }


def claims(folder: Path) -> list[dict[str, Any]]:
    """Return the claims of a study folder as its report has them; none where nothing was rendered."""
    about = (read_json(folder / RENDERED) or {}).get("about") or {}
    return [{key: claim[key] for key in CLAIM_KEYS if key in claim} for claim in about.get("claims", [])]


def dataset(config: Mapping[str, Any]) -> str:
    """Return the name of the data set: of images from files, that of their folder."""
    name, root = get(config, "data.name"), get(config, "data.root")
    return str((name in ("folder", "tar", "wds") and root and Path(str(root)).name) or name or "")


def model(config: Mapping[str, Any]) -> str:
    return str(get(config, "model.name") or "")


def finished_values(plan: PlanFile, metric: str, got: Reading) -> float | None:
    """Return a trial's value of a metric where it is a finite number."""
    found = value(metric, plan.metrics[metric], got)
    return found if found is not None and math.isfinite(found) else None


def _arm(
    plan: PlanFile, trials: list[PlannedTrial], readings: Mapping[str, Reading], specs: Specs
) -> list[dict[str, Any]]:
    first, lines = trials[0], []
    config = (specs.get(first.folder) or {}).get("config") or {}
    for name, metric in plan.metrics.items():
        found = [(trial, finished_values(plan, name, readings[trial.folder])) for trial in trials]
        done = [(trial, number) for trial, number in found if number is not None]
        values = [number for _, number in done]
        if not values:
            continue
        lines.append(
            {
                "part": first.part,
                "arm": first.arm,
                "baseline": first.baseline,
                "task": plan.task,
                "model": model(config),
                "dataset": dataset(config),
                "metric": name,
                "unit": metric.unit,
                "direction": metric.direction,
                "value": statistics.fmean(values),
                "sd": statistics.stdev(values) if len(values) >= 3 else None,
                "n": len(values),
                "planned": len(trials),
                "seeds": {str(trial.seed): number for trial, number in done},
                "trials": [trial.folder for trial, _ in done],
            }
        )
    return lines
