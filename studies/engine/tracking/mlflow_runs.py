"""The runs of one MLflow experiment, within MLflow's limits. The only file that imports MLflow, late and quietly."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from studies.engine.tracking.run_records import Point, RunRecord

METRICS_PER_BATCH, PARAMS_PER_BATCH, MAX_RUNS = 1000, 100, 50_000
PARENT = ""
"""Stands for a trial's id where the study's own run is meant."""


class MlflowUnavailable(Exception):
    """MLflow cannot be reached or used at all; the message is for the user."""


class Runs:
    """Makes the experiment if need be and lists its runs."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        """artifacts: their folder; None for a server, which has its own."""
        self._client, self._entities = _mlflow(uri)
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            self._experiment = self._client.create_experiment(experiment, artifact_location=artifacts)
        else:
            self._experiment = found.experiment_id
            if found.lifecycle_stage != "active":  # its name is still taken
                self._client.restore_experiment(self._experiment)
        self._by_trial: dict[str, Any] = {}
        for run in self._client.search_runs([self._experiment], max_results=MAX_RUNS):
            trial = run.data.tags.get("trial_id", PARENT if run.data.tags.get("kind") == "study" else None)
            if trial is not None and self._by_trial.setdefault(trial, run) is not run:
                self._client.delete_run(run.info.run_id)  # restoring the experiment also restores replaced runs

    def find(self, trial: str, fits: Callable[[dict[str, str], dict[str, str]], bool]) -> str:
        """Return the id of a trial's run; empty if there is none. One whose tags and params do not fit is deleted."""
        found = self._by_trial.get(trial)
        if found is None or fits(found.data.tags, found.data.params):
            return self.id(trial)
        self._client.delete_run(found.info.run_id)
        return ""

    def id(self, trial: str) -> str:
        return str(self._by_trial[trial].info.run_id) if trial in self._by_trial else ""

    def put(self, run: str, record: RunRecord) -> str:
        """Create the run (where `run` is empty) or complete it, without metrics; return its id."""
        is_new = not run  # every call is a transaction of the database
        if is_new:
            made = self._client.create_run(self._experiment, record.start, record.tags, record.name)
            run = str(made.info.run_id)
        params = [self._entities.Param(k, v) for k, v in record.params.items()]
        for start in range(0, len(params), PARAMS_PER_BATCH):
            self._client.log_batch(run, params=params[start : start + PARAMS_PER_BATCH])
        if not is_new:
            self._client.log_batch(run, tags=[self._entities.RunTag(k, v) for k, v in record.tags.items()])
        if not is_new or record.end is None:
            self._client.update_run(run, status=record.status, name=record.name)
        if record.end is not None:
            self._client.set_terminated(run, record.status, record.end)
        return run

    def points(self, run: str, points: Sequence[Point]) -> None:
        """Log metric values; MLflow ignores rows that it has already."""
        for start in range(0, len(points), METRICS_PER_BATCH):
            batch = [self._entities.Metric(*point) for point in points[start : start + METRICS_PER_BATCH]]
            self._client.log_batch(run, metrics=batch)

    def files(self, run: str, root: Path, paths: Sequence[Path]) -> None:
        """Log the files that exist, under their folders relative to root."""
        for path in paths:
            if path.is_file():
                under = path.parent.relative_to(root).as_posix()
                self._client.log_artifact(run, str(path), None if under == "." else under)

    def text(self, run: str, name: str, text: str) -> None:
        self._client.log_text(run, text, name)


def _mlflow(uri: str) -> tuple[Any, Any]:
    """Return a client and MLflow's entities; the log output of MLflow and alembic is turned off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # default 7: four minutes with a dead server
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # default 120, for a hanging server
    try:
        from mlflow import MlflowClient, entities
    except ImportError as error:
        raise MlflowUnavailable(f"{error.name or 'mlflow'} is not installed: no MLflow for this study") from None
    for name, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(name).setLevel(level)
    return MlflowClient(tracking_uri=uri), entities
