"""Mirror trial folders to MLflow, one writer at a time.

The trial folders are the source of truth; what MLflow has can be deleted and written again. Errors here never reach a
trial: `Mirror.update` reports one line and tries again the next time. This is the only file that imports MLflow, and
only if there is something to write.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.core.files import remove
from studies.engine.results.collect import output_files
from studies.engine.results.readings import read, read_all, rows
from studies.engine.storage.plan_file import PlanFile, PlannedTrial, read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import mlflow_uri, run_records
from studies.engine.tracking.mlflow_runs import Runs
from studies.engine.tracking.run_records import ENDED, Point, RunRecord, milliseconds
from studies.engine.tracking.sync_state import (
    FileStamps,
    SyncedRun,
    SyncState,
    file_stamps,
    first_event_time,
    log_tail,
    new_events,
    sources,
)

GIVE_UP_AFTER = 3  # failures within one pass: the server is at fault, not a trial
LOCK_SECONDS = 120.0
"""How long `close` waits for another writer; `update` does not wait."""


class MlflowUnavailable(Exception):
    """MLflow cannot be reached or used at all; the message is for the user."""


_opened: dict[str, int] = {}
"""Inode of the database file when this process first used the URI: MLflow keeps it open even if it is deleted."""


@dataclass(frozen=True)
class PendingRun:
    """A trial whose run in MLflow is out of date."""

    folder: TrialFolder
    record: RunRecord
    seen: FileStamps


class Mirror:
    """Mirrors one study folder to its MLflow experiment."""

    def __init__(
        self, store: Store, folder: Path, uri: str | None = None, say: Callable[[str], None] | None = None
    ) -> None:
        """say: called with one line for each new problem."""
        self.store, self.folder = store, folder
        self.uri = uri or mlflow_uri.default(store.root)
        self.problem = ""
        """Why the last update failed; empty if it did not."""
        self._say = say
        self._runs: Runs | None = None

    @property
    def where(self) -> str:
        """For the user: ``sqlite:////…/mlflow.db  experiment redundancy_ablation``."""
        return f"{mlflow_uri.without_password(self.uri)}  experiment {self.folder.name}"

    @property
    def synced(self) -> int:
        """Number of trials that MLflow has."""
        return len(SyncState.load(self.folder).trials)

    def is_behind(self) -> bool:
        """Whether MLflow lacks something, as far as is known without importing it."""
        return self._is_out_of_date(read_plan(self.folder), final=True)

    def update(self) -> bool:
        """Write what is new to MLflow; return whether that succeeded. Never raises."""
        return self._guarded(final=False)

    def close(self) -> bool:
        """Update, and write the parent run: means over seeds, tables and figures. Call it after they are rendered."""
        return self._guarded(final=True)

    def sync(self) -> bool:
        """Compare everything again: existing runs are kept and completed."""
        with contextlib.suppress(OSError):  # of a read-only folder: saving the new one says so
            remove(self.folder / SyncState.NAME)
        self._runs = None
        return self.close()

    # ---- when to write

    def _guarded(self, final: bool) -> bool:
        try:
            done = self._write_if_needed(final)
        except Exception as error:
            self._runs = None  # listed again: some may have been created before the failure
            problem = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            if not mlflow_uri.answers(self.uri):
                problem = f"no MLflow server answers at {mlflow_uri.without_password(self.uri)}"
            if problem != self.problem and self._say is not None:
                self._say(f"{problem} (`python -m studies sync {self.folder.name}` catches up)")
            self.problem = problem
            return False
        self.problem = ""
        return done

    def _write_if_needed(self, final: bool) -> bool:
        plan = read_plan(self.folder)
        if not self._is_out_of_date(plan, final):
            return True
        if not mlflow_uri.answers(self.uri):
            raise MlflowUnavailable

        from filelock import FileLock, Timeout

        try:
            with FileLock(mlflow_uri.lock(self.uri, self.folder), timeout=LOCK_SECONDS if final else 0):
                self._write(plan, final)
        except Timeout:
            if final:
                raise MlflowUnavailable("another process has been writing to MLflow for two minutes") from None
            return False
        return True

    def _is_out_of_date(self, plan: PlanFile, final: bool) -> bool:
        """Whether there is something to write, as far as is known without importing MLflow."""
        state = SyncState.load(self.folder)
        if not state.is_of(self.uri):
            state = SyncState()
        parent_due = final and state.parent.seen != file_stamps(output_files(self.folder))
        return parent_due or next(self._due(plan, state), None) is not None

    def _due(self, plan: PlanFile, state: SyncState) -> Iterator[PendingRun]:
        """Yield the trials whose runs are out of date."""
        served: dict[str, list[PlannedTrial]] = {}
        for trial in plan.trials:
            served.setdefault(trial.folder, []).append(trial)
        for name, arms in served.items():
            folder, synced = self.store.trial(name), state.trials.get(name, SyncedRun())
            seen = file_stamps(sources(folder))  # before reading, so that a change meanwhile is noticed next time
            current = synced.parent == state.parent.run
            if current and synced.seen == seen and synced.status in ENDED:
                continue
            got = read(folder, plan)
            if got.state.attempt == 0 and got.status != "done":
                continue  # not started: no run in MLflow yet
            record = run_records.trial_run(plan, arms, got, folder.spec() or {}, first_event_time(folder))
            if not (current and synced.seen[:1] == seen[:1] and synced.digest == record.digest):
                yield PendingRun(folder, record, seen)

    # ---- what to write

    def _write(self, plan: PlanFile, final: bool) -> None:
        state = SyncState.load(self.folder)
        if state.uri != self.uri:
            state = SyncState(self.uri)
        runs = self._open(state)
        try:
            if final or not state.parent.run:
                self._push_parent(plan, state, runs)
            else:
                state.parent.seen = []  # compared again by the next `close`
            self._push_trials(list(self._due(plan, state)), state, runs)
        finally:
            state.save(self.folder)

    def _open(self, state: SyncState) -> Runs:
        """Return MLflow's runs; when they are listed, drop from the state what MLflow lacks."""
        if self._runs is None:
            place = mlflow_uri.artifacts(self.uri, self.store.root, self.folder.name)
            self._runs = Runs(*_mlflow(self.uri), self.folder.name, place)
            state.drop_missing(self._runs.ids)
        inode, _ = mlflow_uri.database_stamp(self.uri)
        if _opened.setdefault(self.uri, inode) != inode:
            file = mlflow_uri.database(self.uri)
            raise MlflowUnavailable(f"{file} was replaced while it was in use: the next run fills the new one")
        return self._runs

    def _push_trials(self, due: Sequence[PendingRun], state: SyncState, runs: Runs) -> None:
        failures: list[Exception] = []
        for trial in due:
            synced = state.trials.pop(trial.folder.id, SyncedRun())
            try:
                state.trials[trial.folder.id] = self._push_trial(trial, synced, state.parent.run, runs)
            except Exception as error:  # its run is found again by its tag
                failures.append(error)
                if len(failures) == GIVE_UP_AFTER:
                    break
        if failures:
            raise failures[0]

    def _push_trial(self, trial: PendingRun, synced: SyncedRun, parent: str, runs: Runs) -> SyncedRun:
        folder, record, began = trial.folder, trial.record, trial.record.tags["began"]
        if not synced.run and (found := runs.trials.get(folder.id)):
            same = found.params == record.params  # otherwise of another version: params cannot be changed
            synced = SyncedRun(run=found.id, began=found.tags.get("began", "") if same else "never")
        if synced.run and synced.began not in ("", began):
            runs.delete(synced.run)  # the trial restarted from scratch: the old curve is not its curve
            synced = SyncedRun()
        changed = (synced.digest, synced.parent) != (record.digest, parent)
        if not synced.run:
            synced = SyncedRun(run=runs.create(record, parent))
            runs.file(synced.run, folder.spec_file)
        elif changed:
            runs.describe(synced.run, record, parent)
        events, offset = new_events(folder, synced.offset)
        points = [Point(k, v, milliseconds(e.time), e.step) for e in events for k, v in e.metrics.items()]
        runs.points(synced.run, points)
        if changed and record.status in ENDED:
            runs.file(synced.run, folder.result_file)
            runs.text(synced.run, "log.txt", log_tail(folder))
        return SyncedRun(synced.run, parent, record.digest, record.status, began, offset, trial.seen)

    def _push_parent(self, plan: PlanFile, state: SyncState, runs: Runs) -> None:
        """Write the parent run; replace it if its history is no longer valid (a trial was rerun)."""
        readings = read_all(self.store, plan)
        points = run_records.aggregates(plan, rows(plan, readings), readings)
        history = run_records.history(points)
        record = run_records.study_run(plan, readings, history)
        synced, seen = state.parent, file_stamps(output_files(self.folder))
        if not synced.run and runs.parent is not None:
            synced = SyncedRun(run=runs.parent.id, history=runs.parent.tags.get("aggregates", ""))
        known = int(synced.history.partition(" ")[0] or 0)
        if synced.history and synced.history != run_records.history(points[:known]):
            runs.delete(synced.run)
            synced, known = SyncedRun(), 0
        if not synced.run:
            synced = SyncedRun(run=runs.create(record, ""))
        elif synced.digest != record.digest:
            runs.describe(synced.run, record, "")
        runs.points(synced.run, points[known:])
        if synced.seen != seen:
            runs.files(synced.run, self.folder, output_files(self.folder))
        state.parent = SyncedRun(synced.run, "", record.digest, record.status, seen=seen, history=history)


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
