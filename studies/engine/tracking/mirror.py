"""Trial folders -> MLflow, by one writer at a time.

The trial folder is the truth; what stands in MLflow can be thrown away and told again. Nothing that goes wrong here
reaches a trial: `Mirror.update` remembers, says one line, and tries again the next time. The only file that imports
MLflow, and only where there is something to tell.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.results.collect import output_files
from studies.engine.results.readings import read, read_all, rows
from studies.engine.storage.plan_file import PlanFile, PlannedTrial, read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import mlflow_uri, run_records
from studies.engine.tracking.mlflow_runs import Runs
from studies.engine.tracking.run_records import ENDED, Point, Wanted, milliseconds
from studies.engine.tracking.sync_state import (
    Memory,
    Seen,
    Told,
    began,
    identity,
    log_tail,
    news,
    signature,
    sources,
)

GIVE_UP_AFTER = 3  # failures within one pass: then it is not the trial's fault
PATIENCE = 120.0
"""Seconds `close` waits for another writer; `update` does not wait."""


class Unavailable(Exception):
    """MLflow cannot be reached or used at all; the message is for the user."""


_opened: dict[str, int | None] = {}
"""The database file behind a URI when this process first used it: MLflow holds on to that one, deleted or not."""


@dataclass(frozen=True)
class Due:
    """A trial with news for MLflow."""

    folder: TrialFolder
    wanted: Wanted
    seen: Seen


class Mirror:
    """One study folder and its MLflow experiment."""

    def __init__(
        self, store: Store, folder: Path, uri: str | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        """say: gets one line for each new problem."""
        self.store, self.folder = store, folder
        self.uri = uri or mlflow_uri.default(store.root)
        self.problem = ""
        """Why the last attempt failed, empty where it did not."""
        self._say = say
        self._runs: Runs | None = None

    @property
    def where(self) -> str:
        """For the user: ``sqlite:////…/mlflow.db  experiment redundancy_ablation``."""
        return f"{mlflow_uri.shown(self.uri)}  experiment {self.folder.name}"

    @property
    def told(self) -> int:
        """Trials that MLflow knows."""
        return len(Memory.load(self.folder).trials)

    def behind(self) -> bool:
        """Whether MLflow lacks something, as far as can be told without importing it."""
        return self._anything(read_plan(self.folder), final=True)

    def update(self) -> bool:
        """Tell MLflow what is new; True where it now knows. Never raises."""
        return self._guarded(final=False)

    def close(self) -> bool:
        """The same, and the parent run: aggregates over seeds, tables and figures. Call it once those are rendered."""
        return self._guarded(final=True)

    def sync(self) -> bool:
        """Forget what MLflow was told and tell it all again: what it has stays as it is, what it lacks is added."""
        (self.folder / Memory.NAME).unlink(missing_ok=True)
        self._runs = None
        return self.close()

    # ---- when

    def _guarded(self, final: bool) -> bool:
        try:
            done = self._bring(final)
        except Exception as error:
            problem = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            if not mlflow_uri.answers(self.uri):
                problem = f"no MLflow server answers at {mlflow_uri.shown(self.uri)}"
            if problem != self.problem and self._say is not None:
                self._say(f"{problem} (`python -m studies sync {self.folder.name}` catches up)")
            self.problem = problem
            return False
        self.problem = ""
        return done

    def _bring(self, final: bool) -> bool:
        plan = read_plan(self.folder)
        if not self._anything(plan, final):
            return True
        if not mlflow_uri.answers(self.uri):
            raise Unavailable

        from filelock import FileLock, Timeout

        try:
            with FileLock(mlflow_uri.lock(self.uri, self.folder), timeout=PATIENCE if final else 0):
                self._write(plan, final)
        except Timeout:
            if final:
                raise Unavailable("another process has been writing to MLflow for two minutes") from None
            return False
        return True

    def _anything(self, plan: PlanFile, final: bool) -> bool:
        """Whether there is something to tell, as far as that can be known without importing MLflow."""
        memory = Memory.load(self.folder)
        token = mlflow_uri.token(self.uri, self.folder.name)
        if memory.uri != self.uri or token not in (None, memory.token):
            memory = Memory()
        parent_due = final and memory.parent.seen != signature(output_files(self.folder))
        return parent_due or next(self._due(plan, memory), None) is not None

    def _due(self, plan: PlanFile, memory: Memory) -> Iterator[Due]:
        """The trials whose runs are not as they should be."""
        served: dict[str, list[PlannedTrial]] = {}
        for trial in plan.trials:
            served.setdefault(trial.folder, []).append(trial)
        for name, arms in served.items():
            folder, told = self.store.trial(name), memory.trials.get(name, Told())
            seen = signature(sources(folder))  # before reading, so that what changes meanwhile is seen the next time
            current = told.parent == memory.parent.run
            if current and told.seen == seen and told.status in ENDED:
                continue
            got = read(folder, plan)
            if got.state.attempt == 0 and got.status != "done":
                continue  # not started: MLflow need not know
            wanted = run_records.trial_run(plan, arms, got, folder.spec() or {}, began(folder))
            if not (current and told.seen[:1] == seen[:1] and told.digest == wanted.digest):
                yield Due(folder, wanted, seen)

    # ---- what

    def _write(self, plan: PlanFile, final: bool) -> None:
        runs = self._open()
        memory = Memory.load(self.folder)
        if (memory.uri, memory.token) != (self.uri, runs.token):
            memory = Memory(uri=self.uri, token=runs.token)
        try:
            if final or not memory.parent.run:
                self._tell_parent(plan, memory, runs)
            else:
                memory.parent.seen = []  # whoever closes looks again
            self._tell_trials(list(self._due(plan, memory)), memory, runs)
        finally:
            memory.save(self.folder)

    def _open(self) -> Runs:
        file = mlflow_uri.database(self.uri)
        if self._runs is None:
            place = mlflow_uri.artifacts(self.uri, self.store.root, self.folder.name)
            self._runs = Runs(*_mlflow(self.uri), self.folder.name, place)
        if _opened.setdefault(self.uri, identity(file)) != identity(file):
            raise Unavailable(f"{file} was replaced while it was in use: the next run fills the new one")
        return self._runs

    def _tell_trials(self, due: Sequence[Due], memory: Memory, runs: Runs) -> None:
        failures: list[Exception] = []
        for trial in due:
            told = memory.trials.pop(trial.folder.id, Told())
            try:
                memory.trials[trial.folder.id] = self._tell_trial(trial, told, memory.parent.run, runs)
            except Exception as error:  # the run is found again by its tag
                runs.forget(trial.folder.id)
                failures.append(error)
                if len(failures) == GIVE_UP_AFTER:
                    break
        if failures:
            raise failures[0]

    def _tell_trial(self, trial: Due, told: Told, parent: str, runs: Runs) -> Told:
        folder, wanted, born = trial.folder, trial.wanted, trial.wanted.tags["began"]
        if not told.run and (found := runs.trials.get(folder.id)):
            same = found.params == wanted.params  # else written by another version: params cannot be changed
            told = Told(run=found.id, began=found.tags.get("began", "") if same else "never")
        if told.run and told.began not in ("", born):
            runs.delete(told.run)  # the trial was started over: its old curve is not this trial's
            told = Told()
        news_of_it = (told.digest, told.parent) != (wanted.digest, parent)
        if not told.run:
            told = Told(run=runs.create(wanted, parent))
            runs.file(told.run, folder.spec_file)
        elif news_of_it:
            runs.describe(told.run, wanted, parent)
        events, offset = news(folder, told.offset)
        points = [Point(k, v, milliseconds(e.time), e.step) for e in events for k, v in e.metrics.items()]
        runs.points(told.run, points)
        if news_of_it and wanted.status in ENDED:
            runs.file(told.run, folder.result_file)
            runs.text(told.run, "log.txt", log_tail(folder))
        return Told(told.run, parent, wanted.digest, wanted.status, born, offset, trial.seen)

    def _tell_parent(self, plan: PlanFile, memory: Memory, runs: Runs) -> None:
        """The parent is replaced where its history is not the beginning of what it should be (a trial ran again)."""
        readings = read_all(self.store, plan)
        points = run_records.aggregates(plan, rows(plan, readings), readings)
        history = run_records.history(points)
        wanted = run_records.study_run(plan, readings, history)
        told, seen = memory.parent, signature(output_files(self.folder))
        if not told.run and runs.parent is not None:
            told = Told(run=runs.parent.id, history=runs.parent.tags.get("aggregates", ""))
        known = int(told.history.partition(" ")[0] or 0)
        if told.history and told.history != run_records.history(points[:known]):
            runs.delete(told.run)
            told, known = Told(), 0
        if not told.run:
            told = Told(run=runs.create(wanted, ""))
        elif told.digest != wanted.digest:
            runs.describe(told.run, wanted, "")
        runs.points(told.run, points[known:])
        if told.seen != seen:
            runs.files(told.run, self.folder, output_files(self.folder))
        memory.parent = Told(told.run, "", wanted.digest, wanted.status, seen=seen, history=history)


def _mlflow(uri: str) -> tuple[Any, Any]:
    """A client and MLflow's entities, with the chatter of MLflow and alembic off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 would be four minutes with a server that died
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # 120 with one that hangs
    try:
        from mlflow import MlflowClient, entities
    except ImportError as error:
        raise Unavailable(f"{error.name or 'mlflow'} is not installed, so MLflow shows nothing of this study") from None
    for name, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(name).setLevel(level)
    return MlflowClient(tracking_uri=uri), entities
