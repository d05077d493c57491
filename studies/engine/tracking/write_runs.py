"""What to write to MLflow: the runs of a study, its arms and its trials that are missing or out of date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from studies.engine.results.collect import output_files
from studies.engine.results.readings import Curves, Reading, read, read_all
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.plan_file import PlanFile, PlannedTrial
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import points, run_records
from studies.engine.tracking.mlflow_runs import PARENT, Runs
from studies.engine.tracking.names import digest
from studies.engine.tracking.run_records import ENDED, RunRecord, arm_key
from studies.engine.tracking.saved_view import saved_views
from studies.engine.tracking.sync_state import SyncedRun, SyncState, file_stamps, log_tail, new_events, trial_stamp


def due(
    store: Store, plan: PlanFile, state: SyncState, stale: bool = False
) -> Iterator[tuple[TrialFolder, RunRecord, str]]:
    """Yield the trials whose runs are out of date, and their stamps. stale: also those that only a change of the code
    made so."""
    served: dict[str, list[PlannedTrial]] = {}
    for trial in plan.trials:
        served.setdefault(trial.folder, []).append(trial)
    code = fingerprint(root())
    for name, arms in served.items():
        folder, synced = store.trial(name), state.trials.get(name, SyncedRun())
        parent = state.arms.get(arm_key(arms[0]), SyncedRun()).run
        metrics = {name: (metric.source, metric.direction) for name, metric in plan.metrics.items()}
        shown = [plan.study, parent, metrics, *((arm.part, arm.arm, arm.seed) for arm in arms)]
        if (stamp := trial_stamp(folder, shown)) == synced.stamp and not (stale and synced.code != code):
            continue
        got, last_step = _read(folder, plan)
        if got.state.attempt == 0 and got.status != "done":
            continue  # not started: no run in MLflow yet
        record = run_records.trial_run(plan, arms, got, last_step, folder, parent, code)
        stamp = stamp if got.status == "done" else ""  # others can change without their files: a worker dies
        if digest(record) != synced.digest or new_events(folder, synced.offset)[1] != synced.offset:
            yield folder, record, stamp
        else:
            synced.stamp, synced.code = stamp, code


def _read(folder: TrialFolder, plan: PlanFile) -> tuple[Reading, int]:
    """Read a trial, and its events and their last step only where it is done."""
    got, curves = read(folder, replace(plan, metrics={})), Curves()
    if got.status == "done":
        got = replace(got, latest=curves.add(folder.id, folder.events()))
    return got, max(curves.step, default=0)


def arms_of(plan: PlanFile) -> dict[str, list[PlannedTrial]]:
    """Return the trials of every arm that has a run of its own: those with several seeds."""
    arms: dict[str, list[PlannedTrial]] = {}
    for trial in plan.trials:
        arms.setdefault(arm_key(trial), []).append(trial)
    return {key: trials for key, trials in arms.items() if len(trials) > 1}


class Writer:
    """One pass over a study. What it has written it notes in the state."""

    _seen = ""

    def __init__(self, store: Store, folder: Path, plan: PlanFile, state: SyncState, runs: Runs) -> None:
        self._store, self._folder, self._plan, self._state, self._runs = store, folder, plan, state, runs

    def write_study(self) -> None:
        """Write the study's run with its tables and figures."""
        outputs = output_files(self._folder)
        self._seen, readings = file_stamps(outputs), read_all(self._store, replace(self._plan, metrics={}))
        run = self._runs.find(PARENT, lambda known: "aggregates" not in known.data.tags)  # else of an earlier version
        run = self._runs.put(run, run_records.study_run(self._plan, readings))
        self._runs.files(run, self._folder, outputs)
        self._state.parent = SyncedRun(run)

    def write_arms(self, all_of_them: bool) -> None:
        """Write the runs of arms: all that have changed, or only those that are missing and whose trials have begun."""
        wanted = arms_of(self._plan)
        for key in [key for key in self._runs.known if "/" in key and key not in wanted]:
            self._runs.delete(key)
            self._state.arms.pop(key, None)
        for key, trials in wanted.items():
            if all_of_them or key not in self._state.arms:
                folders = [self._store.trial(trial.folder) for trial in trials]
                if any(folder.has_begun(0) for folder in folders):
                    self._write_arm(key, trials)
        if all_of_them:
            self._state.parent.digest = self._seen

    def _write_arm(self, key: str, trials: list[PlannedTrial]) -> None:
        """Write an arm's run; replace it if its means are no longer valid (a trial was rerun)."""
        plan, synced = replace(self._plan, trials=tuple(trials)), self._state.arms.get(key, SyncedRun())
        readings = read_all(self._store, plan)
        means = points.arm_points(plan, readings.values())
        record = run_records.arm_run(plan, trials[0], readings, points.history(means), self._folder)
        if digest(record) != synced.digest or not synced.run:
            run = self._runs.find(key, lambda known: points.is_prefix(known.data.tags.get("aggregates", "0"), means))
            run = self._runs.put(run, record, means)
            self._state.arms[key] = SyncedRun(run, digest(record))

    def write_trial(self, folder: TrialFolder, record: RunRecord, stamp: str) -> None:
        synced = self._state.trials.get(folder.id, SyncedRun())
        run = self._runs.find(
            folder.id,
            lambda known: (
                # else it restarted: its curve is another
                known.data.tags.get("began", "") in ("", record.tags.get("began", ""))
                # else of another version; params cannot be changed, and of two values at one time the larger is shown
                and known.data.params.items() <= record.params.items()
                and (known.info.status != "FINISHED" or points.agree(known.data.metrics, record.finals))
            ),
        )
        if run != synced.run:
            synced = SyncedRun()
        events, offset = new_events(folder, synced.offset)
        curves = points.points_of(events)
        if digest(record) == synced.digest:
            self._runs.points(run, curves)
        else:
            run = self._runs.put(run, record, curves)
            ended = record.status in ENDED
            self._runs.files(run, folder.path, [folder.spec_file, *([folder.result_file] if ended else [])])
            if ended:
                self._runs.text(run, "log.txt", log_tail(folder))
        self._state.trials[folder.id] = SyncedRun(run, digest(record), offset, stamp, fingerprint(root()))

    def write_experiment(self) -> None:
        """Mark the runs of trials that the study has no more, or whose folders are gone; describe the experiment."""
        planned = {trial.folder for trial in self._plan.trials}
        for key in self._runs.known - {PARENT}:
            if "/" not in key:
                self._runs.mark(key, removed=key not in planned or not self._store.trial(key).has_begun(0))
        self._runs.describe(saved_views(self._plan, self._runs.experiment, self._runs.created, self._runs.metrics))
