"""Mirror trial folders to MLflow, one writer at a time: when to write.

The trial folders are the source of truth; what MLflow has can be deleted and written again. Every pass lists MLflow's
runs and completes those that are missing or whose folders have changed since they were written. Errors here never reach
a trial: `Mirror.update` reports one line and tries again the next time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from studies.engine.core.secrets import hide_secrets
from studies.engine.planning import staleness
from studies.engine.results.collect import output_files
from studies.engine.storage.plan_file import PlanFile, read_plan
from studies.engine.storage.results_dir import Store
from studies.engine.tracking import experiments, mlflow_uri, moved_files
from studies.engine.tracking.mlflow_runs import PARENT, MlflowUnavailable, Runs
from studies.engine.tracking.new_database import unsynced
from studies.engine.tracking.saved_view import experiment_page
from studies.engine.tracking.sync_state import SyncedRun, SyncState, file_stamps
from studies.engine.tracking.today import Today
from studies.engine.tracking.write_runs import Writer, due

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
        self._contents: staleness.Contents = {}  # a data set is not listed again at every update of a run

    @property
    def where(self) -> str:
        """For the user: ``sqlite:////…/mlflow.db  experiment redundancy_ablation``; of a server the page."""
        note, place, state = mlflow_uri.unserved(self.store.root), hide_secrets(self.uri), self._state()
        if mlflow_uri.is_server(self.uri) and state.experiment:
            place = f"{place.rstrip('/')}/{experiment_page(state.experiment)}"
        return f"{place}  experiment {state.name or self.folder.name}" + (f"  ({note})" if note else "")

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
        """As `close`, also if nothing has changed here: what was deleted in MLflow is written again, and what the code
        has made stale is marked."""
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
        today = Today(self.store, plan, self._contents)
        return parent_due or next(due(self.store, plan, state, today), None) is not None

    # ---- what to write

    def _write(self, plan: PlanFile, final: bool) -> None:
        file = mlflow_uri.database(self.uri)
        name = self.folder.name
        if file is None:
            runs = Runs(self.uri, name, None, experiments.place(self.folder), self._state().owner)
        else:  # nobody else's
            if file.exists():
                moved_files.follow(file, name)
            runs = Runs(self.uri, name, str(file.parent / moved_files.FOLDER / name), name)
        inode, _ = mlflow_uri.database_stamp(self.uri)
        if _opened.setdefault(self.uri, inode) != inode:
            raise MlflowUnavailable(f"{file} was replaced while it was in use: the next run fills the new one")
        state, failures = self._state(), list[Exception]()
        state.experiment, state.name, state.owner = runs.experiment, runs.name, runs.owner
        for known in (state.trials, state.arms):
            for key in [key for key, synced in known.items() if not runs.is_whole(key, synced.run)]:
                del known[key]
        if not runs.is_whole(PARENT, state.parent.run):
            state.parent = SyncedRun()
        state.save(self.folder, self.uri)  # a kill from here on does not make believe that lost runs are there
        today = Today(self.store, plan, {} if final else self._contents)
        writer = Writer(self.store, self.folder, plan, state, runs)
        try:
            groups = final and self._is_behind(plan, state, final)
            if groups or not state.parent.run:
                writer.write_study()
            writer.write_arms(all_of_them=groups)
            for trial in due(self.store, plan, state, today, stale=final):
                try:
                    writer.write_trial(trial)
                except Exception as error:  # the other trials are written all the same
                    failures.append(error)
                    if len(failures) == GIVE_UP_AFTER:
                        break
            writer.write_experiment()
        finally:
            state.save(self.folder, self.uri)
        if failures:
            raise failures[0]
