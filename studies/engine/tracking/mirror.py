"""Mirror trial folders to MLflow, one writer at a time.

The trial folders are the source of truth; what MLflow has can be deleted and written again. Every pass lists MLflow's
runs and completes those that are missing or whose folders have changed since they were written. Errors here never reach
a trial: `Mirror.update` reports one line and tries again the next time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from studies.engine.core.secrets import hide_secrets
from studies.engine.results.collect import output_files
from studies.engine.results.readings import read, read_all, rows
from studies.engine.storage.plan_file import PlanFile, PlannedTrial, read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import mlflow_uri, run_records
from studies.engine.tracking.mlflow_runs import PARENT, MlflowUnavailable, Runs, unsynced
from studies.engine.tracking.run_records import ENDED, RunRecord, digest
from studies.engine.tracking.sync_state import SyncedRun, SyncState, file_stamps, log_tail, new_events, trial_stamp

GIVE_UP_AFTER = 3  # failures within one pass: the server is at fault, not a trial
LOCK_SECONDS = 120.0
"""How long `close` waits for another writer; `update` does not wait."""

_opened: dict[str, int] = {}
"""Inode of the database file when this process first used the URI: MLflow keeps it open even if it is deleted."""


class Mirror:
    """Mirrors one study folder to its MLflow experiment."""

    def __init__(
        self, store: Store, folder: Path, uri: str | None = None, say: Callable[[str], None] = lambda line: None
    ) -> None:
        """say: called with one line for each new problem."""
        self.store, self.folder = store, folder
        self.uri = uri or mlflow_uri.default(store.root)
        self.problem = ""
        """Why the last update failed; empty if it did not."""
        self._say = say

    @property
    def where(self) -> str:
        """For the user: ``sqlite:////…/mlflow.db  experiment redundancy_ablation``."""
        note = mlflow_uri.unserved(self.store.root)
        return f"{hide_secrets(self.uri)}  experiment {self.folder.name}" + (f"  ({note})" if note else "")

    @property
    def synced(self) -> int:
        """Number of trials that MLflow has."""
        return len(self._state().trials)

    def is_behind(self, final: bool = True, plan: PlanFile | None = None) -> bool:
        """Whether MLflow lacks something, as far as is known without importing it. plan: the folder's, where known."""
        return self._is_behind(plan or read_plan(self.folder), self._state(), final)

    def update(self) -> bool:
        """Write what is new to MLflow; return whether that succeeded. Never raises."""
        return self._guarded(final=False)

    def close(self) -> bool:
        """Update, and write the parent run: means over seeds, tables and figures. Call it after they are rendered."""
        return self._guarded(final=True)

    def sync(self) -> bool:
        """As `close`, also if nothing has changed here: what was deleted in MLflow is written again."""
        return self._guarded(final=True, always=True)

    # ---- when to write

    def _guarded(self, final: bool, always: bool = False) -> bool:
        try:
            done = (not always and not self.is_behind(final)) or self._write_alone(final)
        except Exception as error:
            known = isinstance(error, MlflowUnavailable)
            text = (not known and mlflow_uri.problem(self.uri)) or str(error).strip() or type(error).__name__
            problem = hide_secrets(text.splitlines()[0])[:300]
            if problem != self.problem:
                self._say(f"{problem} (`python -m studies sync {self.folder.name}` catches up)")
            self.problem = problem
            return False
        self.problem = ""
        return done

    def _write_alone(self, final: bool) -> bool:
        """Write unless another process does."""
        if problem := mlflow_uri.problem(self.uri):
            raise MlflowUnavailable(problem)

        from filelock import FileLock, Timeout

        file = mlflow_uri.database(self.uri)
        lock = file.with_name(f"{file.name}.lock") if file else self.folder / ".mirror.lock"
        try:
            with FileLock(lock, timeout=LOCK_SECONDS if final else 0):
                is_new = file is not None and not file.exists()
                with unsynced() if is_new else contextlib.nullcontext():
                    self._write(read_plan(self.folder), final)
        except Timeout:
            if final:
                raise MlflowUnavailable("another process has been writing to MLflow for two minutes") from None
            return False
        return True

    def _state(self) -> SyncState:
        return SyncState.load(self.folder, self.uri)

    def _is_behind(self, plan: PlanFile, state: SyncState, final: bool) -> bool:
        parent_due = final and state.parent.digest != file_stamps(output_files(self.folder))
        return parent_due or next(self._due(plan, state), None) is not None

    def _due(self, plan: PlanFile, state: SyncState) -> Iterator[tuple[TrialFolder, RunRecord, str]]:
        """Yield the trials whose runs are out of date, and their stamps."""
        served: dict[str, list[PlannedTrial]] = {}
        for trial in plan.trials:
            served.setdefault(trial.folder, []).append(trial)
        bare = replace(plan, metrics={})  # so that no events are read
        for name, arms in served.items():
            folder, synced = self.store.trial(name), state.trials.get(name, SyncedRun())
            shown = [plan.study, state.parent.run, *((arm.part, arm.arm, arm.seed) for arm in arms)]
            if (stamp := trial_stamp(folder, shown)) == synced.stamp:
                continue
            got = read(folder, bare)
            if got.state.attempt == 0 and got.status != "done":
                continue  # not started: no run in MLflow yet
            record = run_records.trial_run(plan, arms, got, folder, state.parent.run)
            stamp = stamp if got.status == "done" else ""  # others can change without their files: a worker dies
            if digest(record) != synced.digest or new_events(folder, synced.offset)[1] != synced.offset:
                yield folder, record, stamp
            else:
                synced.stamp = stamp

    # ---- what to write

    def _write(self, plan: PlanFile, final: bool) -> None:
        file = mlflow_uri.database(self.uri)
        artifacts = str(self.store.root.resolve() / "mlartifacts" / self.folder.name) if file else None
        runs = Runs(self.uri, self.folder.name, artifacts)
        inode, _ = mlflow_uri.database_stamp(self.uri)
        if _opened.setdefault(self.uri, inode) != inode:
            raise MlflowUnavailable(f"{file} was replaced while it was in use: the next run fills the new one")
        state, failures = self._state(), list[Exception]()
        state.trials = {name: known for name, known in state.trials.items() if runs.is_whole(name, known.run)}
        if not runs.is_whole(PARENT, state.parent.run):
            state.parent = SyncedRun()
        state.save(self.folder, self.uri)  # a kill from here on does not make believe that lost runs are there
        try:
            if not state.parent.run or (final and self._is_behind(plan, state, final)):
                state.parent = self._write_parent(plan, runs)
            for folder, record, stamp in self._due(plan, state):
                try:
                    known = state.trials.get(folder.id, SyncedRun())
                    state.trials[folder.id] = self._write_trial(folder, record, known, runs)
                    state.trials[folder.id].stamp = stamp
                except Exception as error:  # the other trials are written all the same
                    failures.append(error)
                    if len(failures) == GIVE_UP_AFTER:
                        break
        finally:
            state.save(self.folder, self.uri)
        if failures:
            raise failures[0]

    def _write_trial(self, folder: TrialFolder, record: RunRecord, synced: SyncedRun, runs: Runs) -> SyncedRun:
        run = runs.find(
            folder.id,
            lambda tags, params: (
                tags.get("began", "") in ("", record.tags["began"])  # else it restarted: its curve is another one
                and params.items() <= record.params.items()  # else of another version; params cannot be changed
            ),
        )
        if run != synced.run:
            synced = SyncedRun()
        events, offset = new_events(folder, synced.offset)
        if digest(record) == synced.digest:
            runs.points(run, run_records.points_of(events))
        else:
            run = runs.put(run, record, run_records.points_of(events))
            ended = record.status in ENDED
            runs.files(run, folder.path, [folder.spec_file, *([folder.result_file] if ended else [])])
            if ended:
                runs.text(run, "log.txt", log_tail(folder))
        return SyncedRun(run, digest(record), offset)

    def _write_parent(self, plan: PlanFile, runs: Runs) -> SyncedRun:
        """Write the parent run; replace it if its history is no longer valid (a trial was rerun)."""
        outputs = output_files(self.folder)
        seen, readings = file_stamps(outputs), read_all(self.store, plan)
        points = run_records.aggregates(plan, rows(plan, readings), readings)
        run = runs.find(PARENT, lambda tags, _: run_records.is_prefix(tags.get("aggregates", "0"), points))
        run = runs.put(run, run_records.study_run(plan, readings, run_records.history(points)), points)
        runs.files(run, self.folder, outputs)
        return SyncedRun(run, seen)
