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
    """Runs by trial id; arms under "part/arm", the study's under ''. No two stand for the same."""
    found = client(store)
    experiment = found.get_experiment_by_name(name)
    listed = found.search_runs([experiment.experiment_id], max_results=999)
    by_key = {key(run): run for run in listed}
    assert len(by_key) == len(listed), "two runs for one key"
    return by_key


def key(run: Any) -> str:
    tags = run.data.tags
    return f"{tags['part']}/{tags['arm']}" if tags["kind"] == "arm" else str(tags.get("trial_id", ""))


def history(store: Store, run: Any, key: str) -> list[tuple[int, int, float]]:
    points = client(store).get_metric_history(run.info.run_id, key)
    return sorted((p.step, p.timestamp, p.value) for p in points)


def close(store: Store, folder: Path) -> Mirror:
    collect(store, folder)
    mirror = Mirror(store, folder)
    assert mirror.close(), mirror.problem
    return mirror
