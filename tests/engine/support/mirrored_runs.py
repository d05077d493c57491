"""Reads the MLflow database of a results folder, for the tests of the mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror


def client(store: Store) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{store.root / 'mlflow.db'}")


def runs(store: Store, name: str = "toy") -> dict[str, Any]:
    """Children by trial id; the parent under ''."""
    found = client(store)
    experiment = found.get_experiment_by_name(name)
    return {r.data.tags.get("trial_id", ""): r for r in found.search_runs([experiment.experiment_id], max_results=999)}


def history(store: Store, run: Any, key: str) -> list[tuple[int, int, float]]:
    points = client(store).get_metric_history(run.info.run_id, key)
    return sorted((p.step, p.timestamp, p.value) for p in points)


def close(store: Store, folder: Path) -> Mirror:
    collect(store, folder)
    mirror = Mirror(store, folder)
    assert mirror.close(), mirror.problem
    return mirror
