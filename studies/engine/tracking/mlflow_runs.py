"""The runs of one MLflow experiment, written in batches within MLflow's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from studies.engine.tracking.run_records import ENDED, Point, RunRecord, sanitize

METRICS_PER_BATCH, PARAMS_PER_BATCH, RUNS_PER_PAGE = 1000, 100, 1000
T = TypeVar("T")


@dataclass(frozen=True)
class ExistingRun:
    """A run in MLflow."""

    id: str
    tags: dict[str, str]
    params: dict[str, str]


class Runs:
    """Opens or creates the experiment and lists its runs once."""

    def __init__(self, client: Any, entities: Any, experiment: str, artifacts: str | None) -> None:
        """client: an MlflowClient, entities: `mlflow.entities`, artifacts: their folder (a server has its own)."""
        self._client, self._entities = client, entities
        found = client.get_experiment_by_name(experiment)
        if found is None:
            self._experiment = client.create_experiment(experiment, artifact_location=artifacts)
        else:
            self._experiment = found.experiment_id
        runs = [] if found is None else self._list()
        if found is not None and found.lifecycle_stage != "active":
            client.restore_experiment(self._experiment)  # its name is still taken; this restores deleted runs too
            for run in self._list():
                self.delete(run.id)
            runs = []
        self.ids = {run.id for run in runs}
        self.trials = {run.tags["trial_id"]: run for run in runs if "trial_id" in run.tags}
        self.parent = next((run for run in runs if run.tags.get("kind") == "study"), None)

    def _list(self) -> list[ExistingRun]:
        """Return the active runs."""
        listed: list[ExistingRun] = []
        page = None
        while True:
            runs = self._client.search_runs([self._experiment], max_results=RUNS_PER_PAGE, page_token=page)
            listed += [ExistingRun(run.info.run_id, run.data.tags, run.data.params) for run in runs]
            page = runs.token
            if not page:
                return listed

    def create(self, record: RunRecord, parent: str) -> str:
        """Create a run with its params, tags, name and status; return its id."""
        tags = _tags(record, parent)
        run = self._client.create_run(self._experiment, start_time=record.start, tags=tags, run_name=record.name)
        run_id = str(run.info.run_id)
        for params in _chunks(list(record.params.items()), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=[self._entities.Param(k, v) for k, v in params])
        if record.status != "RUNNING":
            self._status(run_id, record)
        return run_id

    def describe(self, run: str, record: RunRecord, parent: str) -> None:
        """Update tags, name, status and end of a run."""
        tags = [self._entities.RunTag(k, v) for k, v in _tags(record, parent).items()]
        self._client.log_batch(run, tags=tags)
        self._client.update_run(run, name=record.name)
        self._status(run, record)

    def _status(self, run: str, record: RunRecord) -> None:
        if record.status in ENDED:
            self._client.set_terminated(run, status=record.status, end_time=record.end)
        else:
            self._client.update_run(run, status=record.status)

    def points(self, run: str, points: Sequence[Point]) -> None:
        """Log metric values; MLflow ignores rows that it has already."""
        for chunk in _chunks(points, METRICS_PER_BATCH):
            metrics = [self._entities.Metric(sanitize(p.key), p.value, p.time, p.step) for p in chunk]
            self._client.log_batch(run, metrics=metrics)

    def delete(self, run: str) -> None:
        self._client.delete_run(run)

    def file(self, run: str, path: Path, under: str | None = None) -> None:
        if path.is_file():
            self._client.log_artifact(run, str(path), under)

    def files(self, run: str, root: Path, paths: Sequence[Path]) -> None:
        """Log files under their folders relative to root."""
        for path in paths:
            under = path.parent.relative_to(root).as_posix()
            self.file(run, path, None if under == "." else under)

    def text(self, run: str, name: str, text: str) -> None:
        self._client.log_text(run, text, name)


def _tags(record: RunRecord, parent: str) -> dict[str, str]:
    return {**record.tags, "mlflow.parentRunId": parent} if parent else dict(record.tags)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
