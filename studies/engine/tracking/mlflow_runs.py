"""The runs of one MLflow experiment, within MLflow's limits. The only file that imports MLflow, late and quietly."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from studies.engine.tracking.run_records import Point, RunRecord

MAX_RUNS = 50_000
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
        self._places: dict[str, Path] = {}
        """Folders of artifacts on this machine, by run."""
        for run in self._client.search_runs([self._experiment], max_results=MAX_RUNS):
            trial = run.data.tags.get("trial_id", PARENT if run.data.tags.get("kind") == "study" else None)
            if trial is not None and self._by_trial.setdefault(trial, run) is not run:
                self._client.delete_run(run.info.run_id)  # restoring the experiment also restores replaced runs
            self._know(run)

    def find(self, trial: str, fits: Callable[[dict[str, str], dict[str, str]], bool]) -> str:
        """Return the id of a trial's run; empty if there is none. One whose tags and params do not fit is deleted."""
        found = self._by_trial.get(trial)
        if found is None or fits(found.data.tags, found.data.params):
            return self.id(trial)
        self._client.delete_run(found.info.run_id)
        return ""

    def id(self, trial: str) -> str:
        return str(self._by_trial[trial].info.run_id) if trial in self._by_trial else ""

    def is_whole(self, trial: str, run: str) -> bool:
        """Whether this is the trial's run, and its files, if they are on this machine, are there."""
        return run == self.id(trial) and self._places.get(run, Path()).is_dir()

    def put(self, run: str, record: RunRecord, points: Sequence[Point] = ()) -> str:
        """Create the run (where `run` is empty) or complete it, with new metric values; return its id."""
        is_new = not run  # every call is a transaction of the database
        if is_new:
            made = self._client.create_run(self._experiment, record.start, record.tags, record.name)
            run = str(made.info.run_id)
            self._know(made)
        tags = [] if is_new else [self._entities.RunTag(k, v) for k, v in record.tags.items()]
        params = [self._entities.Param(k, v) for k, v in record.params.items()]
        self._client.log_batch(run, self._metrics(points), params, tags)
        if not is_new or record.end is None:
            self._client.update_run(run, status=record.status, name=record.name)
        if record.end is not None:
            self._client.set_terminated(run, record.status, record.end)
        return run

    def points(self, run: str, points: Sequence[Point]) -> None:
        """Log metric values; MLflow ignores rows that it has already."""
        self._client.log_batch(run, self._metrics(points))

    def _metrics(self, points: Sequence[Point]) -> list[Any]:
        return [self._entities.Metric(*point) for point in points]

    def files(self, run: str, root: Path, paths: Sequence[Path]) -> None:
        """Log the files that exist, under their folders relative to root."""
        for path in filter(Path.is_file, paths):
            under = path.parent.relative_to(root).as_posix()
            if run in self._places:  # the client would ask the database where that is
                (self._places[run] / under).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, self._places[run] / under / path.name)
            else:
                self._client.log_artifact(run, str(path), None if under == "." else under)

    def text(self, run: str, name: str, text: str) -> None:
        if run in self._places:
            (self._places[run] / name).write_text(text)
        else:
            self._client.log_text(run, text, name)

    def _know(self, run: Any) -> None:
        if os.path.isabs(run.info.artifact_uri):
            self._places[str(run.info.run_id)] = Path(run.info.artifact_uri)


@contextmanager
def unsynced() -> Iterator[None]:
    """Let a database that is being made take its transactions without a sync of the disk each: a kill leaves it whole,
    and after a power cut it is made again."""
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    def relax(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    def restore(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA synchronous = FULL")

    event.listen(Pool, "checkout", relax)
    event.listen(Pool, "checkin", restore)
    try:
        yield
    finally:
        event.remove(Pool, "checkout", relax)
        event.remove(Pool, "checkin", restore)


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
