"""Views of an experiment that MLflow's UI offers under "Saved views": accuracy against cost, drawn.

A view is a tag of the experiment in the UI's own format (MLflow 3.17), which older versions do not show.
"""

from __future__ import annotations

import json
from collections.abc import Set
from typing import Any

from studies.engine.storage.plan_file import PlanFile
from studies.engine.tracking.names import TAG_LIMIT, sanitize, truncate
from studies.engine.tracking.points import COST
from studies.engine.tracking.run_records import description

VIEW = "against-cost"
SECTION = "Accuracy against cost"


def saved_views(plan: PlanFile, experiment: str, created: int, metrics: Set[str]) -> dict[str, str]:
    """Return the experiment's tags: its description, and a view where there is a metric to draw.

    created: milliseconds. metrics: names of those that runs have.
    """
    tags = {"mlflow.note.content": truncate(description(plan), TAG_LIMIT)}
    quality = next((sanitize(name) for name, metric in plan.metrics.items() if metric.direction == "max"), "")
    pairs = [(f"{COST}.mean", f"{quality}.mean"), (COST, quality)]
    charts = [_scatter(x, y) for x, y in pairs if {x, y} <= metrics]
    if charts:
        names = [sanitize(name) for name in plan.metrics]
        shown = [name for name in (*(f"{name}.mean" for name in names), *names) if name in metrics]
        link = f"{experiment_page(experiment)}&viewStateShareKey={VIEW}&compareRunsMode=CHART"
        tags["mlflow.note.content"] += f"\n\n[{quality} against {COST}]({link})"
        tags[f"mlflow.sharedViewState.{VIEW}"] = _view(f"{quality} against {COST}", created, _state(charts, shown))
    return tags


def experiment_page(experiment: str) -> str:
    """Return the page of an experiment in the UI's mode for training: by itself it opens the one for prompts."""
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning"


def _view(name: str, created: int, state: dict[str, Any]) -> str:
    return json.dumps({"name": name, "createdAt": created, "updatedAt": created, "state": json.dumps(state)})


def _state(charts: list[dict[str, Any]], columns: list[str]) -> dict[str, Any]:
    """Return the UI's state: charts of ours first, those that it makes by itself after them, all runs shown."""
    sections = [(VIEW, SECTION, False), ("model-metrics", "Model metrics", True), ("system", "System metrics", True)]
    return {
        "selectedColumns": [*(f"metrics.`{name}`" for name in columns), "attributes.`Dataset`"],
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [
            {"uuid": id, "name": name, "display": True, "isReordered": False, "deleted": False, "isGenerated": made}
            for id, name, made in sections
        ],
    }


def _scatter(x: str, y: str) -> dict[str, Any]:
    return {
        "uuid": f"{VIEW}-{x}",
        "type": "SCATTER",
        "runsCountToCompare": 500,
        "metricSectionId": VIEW,
        "deleted": False,
        "isGenerated": False,
        "displayName": f"{y} against {x}",
        "xaxis": {"key": x, "type": "METRIC"},
        "yaxis": {"key": y, "type": "METRIC"},
    }
