"""The runs of one MLflow experiment, within MLflow's limits. The only file that imports MLflow, late and quietly."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.engine.tracking.experiments import find_or_create
from studies.engine.tracking.logged_models import LoggedModels
from studies.engine.tracking.points import Point
from studies.engine.tracking.run_records import OPTIONAL_TAGS, RunRecord
from studies.engine.tracking.used_data import DataSet

MAX_RUNS = 50_000
PARENT = ""
"""Stands for a trial's id where the study's own run is meant."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it, UIs that go by it open an experiment as one of prompts and traces."""


class MlflowUnavailable(Exception):
    """MLflow cannot be reached or used at all; the message is for the user."""


class Runs:
    """Makes the experiment if need be and lists its runs, by trial, arm ("part/arm") or PARENT."""

    def __init__(self, uri: str, name: str, artifacts: str | None, owner: str, before: str = "") -> None:
        """name, artifacts, owner, before: as `find_or_create` has them."""
        self._client, self._entities = _mlflow(uri)
        found = find_or_create(self._client, name, owner, before, artifacts, KIND)
        self.experiment, self.name, self.owner = str(found.experiment_id), str(found.name), owner
        self._models = LoggedModels(self._client, self._entities, self.experiment)
        self._experiment_tags, self.created = dict(found.tags), int(found.creation_time or 0)
        self._by_key: dict[str, Any] = {}
        self._listed: dict[str, Any] = {}
        """As they were when this pass began, by run id."""
        self._places: dict[str, Path] = {}
        """Folders of artifacts on this machine, by run."""
        self.metrics: set[str] = set()
        """Names of all metrics."""
        for run in self._all_runs():
            key = _key(run.data.tags)
            if key is not None and self._by_key.setdefault(key, run) is not run:
                self._delete(run)  # restoring the experiment also restores replaced runs
                continue
            self._listed[run.info.run_id] = run
            self.metrics.update(run.data.metrics)
            self._know(run)

    def _all_runs(self) -> Iterator[Any]:
        """Yield the experiment's runs, page by page."""
        page = None
        while True:
            found = self._client.search_runs([self.experiment], max_results=MAX_RUNS, page_token=page)
            yield from found
            page = found.token
            if not page:
                return

    @property
    def known(self) -> set[str]:
        """Trials, arms and PARENT that had runs when this pass began."""
        return set(self._by_key)

    def find(self, key: str, fits: Callable[[Any], bool]) -> str:
        """Return the id of a run; empty if there is none. One that does not fit is deleted."""
        found = self._by_key.get(key)
        if found is None or fits(found):
            return self.id(key)
        self.delete(key)
        return ""

    def id(self, key: str) -> str:
        return str(self._by_key[key].info.run_id) if key in self._by_key else ""

    def is_whole(self, key: str, run: str) -> bool:
        """Whether this is the key's run, and its files, if they are on this machine, are there. An arm's has none."""
        return run == self.id(key) and ("/" in key or self._places.get(run, Path()).is_dir())

    def delete(self, key: str) -> None:
        self._delete(self._by_key.pop(key))

    def put(self, run: str, record: RunRecord, points: Sequence[Point] = ()) -> str:
        """Create the run (where `run` is empty) or complete it, with new metric values; return its id.

        What is logged is there when this returns: MLFLOW_ENABLE_ASYNC_LOGGING would let errors pass.
        """
        if not run:  # every call is a transaction of the database
            made = self._client.create_run(self.experiment, record.start, record.tags, record.name)
            run = str(made.info.run_id)
            self._know(made)
            self._listed[run] = made
        known = self._listed[run]
        tags = [self._entities.RunTag(k, v) for k, v in record.tags.items() if known.data.tags.get(k) != v]
        params = [self._entities.Param(k, v) for k, v in record.params.items() if k not in known.data.params]
        model = self._models.put(known, record.weights) if record.weights else None
        new = [p for p in record.finals if model or known.data.metrics.get(p.key) != p.value]
        finals = [self._entities.Metric(*point, model_id=model) for point in new]
        self._client.log_batch(run, [*self._metrics(points), *finals], params, tags, synchronous=True)
        self.metrics.update(point.key for point in (*points, *record.finals))
        for key in OPTIONAL_TAGS:
            if key in known.data.tags and key not in record.tags:
                self._client.delete_tag(run, key)
        if record.data is not None:
            self._use(known, record.data)
        info = known.info
        if info.run_name != record.name or (record.end is None and info.status != record.status):
            self._client.update_run(run, status=record.status, name=record.name)
        if record.end is not None and (info.status, info.end_time) != (record.status, record.end):
            self._client.set_terminated(run, record.status, record.end)
        return run

    def points(self, run: str, points: Sequence[Point]) -> None:
        """Log metric values; MLflow ignores rows that it has already."""
        self._client.log_batch(run, self._metrics(points), synchronous=True)

    def mark(self, key: str, removed: bool) -> None:
        """Say of a trial's run whether the study has the trial no more."""
        run, text = self._by_key[key], str(removed).lower()
        if run.data.tags.get("removed", "false") != text:
            self._client.set_tag(run.info.run_id, "removed", text, synchronous=True)

    def describe(self, tags: Mapping[str, str]) -> None:
        """Set tags of the experiment."""
        for key, text in {**KIND, **tags}.items():
            if self._experiment_tags.get(key) != text:
                self._client.set_experiment_tag(self.experiment, key, text)

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
            (self._places[run] / name).write_text(text, encoding="utf-8")
        else:
            self._client.log_text(run, text, name)

    def _metrics(self, points: Sequence[Point]) -> list[Any]:
        return [self._entities.Metric(*point) for point in points]

    def _use(self, run: Any, data: DataSet) -> None:
        """Log the data set as the run's input, unless that is known."""
        inputs = run.inputs.dataset_inputs if run.inputs else []
        if (data.name, data.digest) not in [(known.dataset.name, known.dataset.digest) for known in inputs]:
            dataset = self._entities.Dataset(
                data.name, data.digest, data.source_type, data.source, profile=data.profile
            )
            tag = self._entities.InputTag("mlflow.data.context", "training")
            self._client.log_inputs(run.info.run_id, [self._entities.DatasetInput(dataset, [tag])])

    def _delete(self, run: Any) -> None:
        self._models.delete(run)
        self._client.delete_run(run.info.run_id)

    def _know(self, run: Any) -> None:
        if os.path.isabs(run.info.artifact_uri):
            self._places[str(run.info.run_id)] = Path(run.info.artifact_uri)


def _key(tags: Mapping[str, str]) -> str | None:
    """Return what a run stands for; None for one that is not ours."""
    kind = tags.get("kind")
    if kind == "arm":
        return f"{tags.get('part')}/{tags.get('arm')}"
    return tags.get("trial_id", PARENT if kind == "study" else None)


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
