"""What to write to MLflow: the runs of a study, its arms and its trials that are missing or out of date."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from studies.engine.results.collect import output_files
from studies.engine.results.readings import Curves, Reading, read, read_all
from studies.engine.storage.plan_file import PlanFile, PlannedTrial
from studies.engine.storage.results_dir import Store
from studies.engine.storage.samples import new_samples
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import points, run_records
from studies.engine.tracking.mlflow_runs import PARENT, Runs
from studies.engine.tracking.names import digest
from studies.engine.tracking.points import Point
from studies.engine.tracking.run_records import ENDED, RunRecord, arm_key
from studies.engine.tracking.saved_view import saved_views
from studies.engine.tracking.sync_state import SyncedRun, SyncState, file_stamps, log_tail, new_events, trial_stamp
from studies.engine.tracking.today import Today


class Due(NamedTuple):
    """A trial whose run is out of date, and what `SyncedRun` keeps of it once it is written."""

    folder: TrialFolder
    record: RunRecord
    stamp: str
    code: str
    files: tuple[str, ...]


def due(store: Store, plan: PlanFile, state: SyncState, today: Today, stale: bool = False) -> Iterator[Due]:
    """Yield the trials whose runs are out of date. stale: also those that only a change of code or data made so."""
    served: dict[str, list[PlannedTrial]] = {}
    for trial in plan.trials:
        served.setdefault(trial.folder, []).append(trial)
    for name, arms in served.items():
        folder, synced = store.trial(name), state.trials.get(name, SyncedRun())
        parent = state.arms.get(arm_key(arms[0]), SyncedRun()).run
        metrics = {name: (metric.source, metric.direction) for name, metric in plan.metrics.items()}
        shown = [plan.study, parent, metrics, *((arm.part, arm.arm, arm.seed) for arm in arms)]
        if (stamp := trial_stamp(folder, shown)) == synced.stamp and not (
            stale and synced.code != today.version(synced.files)
        ):
            continue
        got, last_step = _read(folder, plan)
        if got.state.attempt == 0 and got.status != "done":
            continue  # not started: no run in MLflow yet
        done = got.status == "done"
        is_stale, files = done and today.makes_stale(folder, got.state), today.files(folder) if done else ()
        record = run_records.trial_run(plan, arms, got, last_step, folder, parent, is_stale)
        stamp = stamp if done else ""  # others can change without their files: a worker dies
        if digest(record) != synced.digest or _news(folder, synced, record)[1:] != (synced.offset, synced.samples):
            yield Due(folder, record, stamp, today.version(files), files)
        else:
            synced.stamp, synced.code, synced.files = stamp, today.version(files), files


def _news(folder: TrialFolder, synced: SyncedRun, record: RunRecord) -> tuple[list[Point], int, dict[str, int]]:
    """Return the curves and samples that MLflow lacks, and up to where it has their files then."""
    events, offset = new_events(folder, synced.offset)
    samples, read = new_samples(folder, synced.samples) if record.start else ([], synced.samples)  # else queued again
    return [*points.points_of(events), *points.system_points(samples, record.start)], offset, read


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

    def write_trial(self, trial: Due) -> None:
        folder, record = trial.folder, trial.record
        synced = self._state.trials.get(folder.id, SyncedRun())
        run = self._runs.find(
            folder.id,
            lambda known: (
                # else it restarted: its curve is another
                known.data.tags.get("began", "") in ("", record.tags.get("began", ""))
                # else of another version; params cannot be changed, and of two values at one time the larger is shown
                and known.data.params.items() <= record.params.items()
                and (known.info.status != "FINISHED" or points.agree(known.data.metrics, record.finals))
                # else it has samples from before the trial was started over, with nothing logged; or it was made while
                # the trial was queued again, and has no start, which cannot be changed
                and (
                    known.info.start_time == record.start
                    or (known.info.start_time and not points.has_samples(known.data.metrics))
                )
            ),
        )
        if run != synced.run:
            synced = SyncedRun()
        curves, offset, samples = _news(folder, synced, record)
        if digest(record) == synced.digest:
            self._runs.points(run, curves)
        else:
            run = self._runs.put(run, record, curves)
            ended = record.status in ENDED
            self._runs.files(run, folder.path, [folder.spec_file, *([folder.result_file] if ended else [])])
            if ended:
                self._runs.text(run, "log.txt", log_tail(folder))
        self._state.trials[folder.id] = SyncedRun(run, digest(record), offset, samples, *trial[2:])

    def write_experiment(self) -> None:
        """Mark the runs of trials that the study has no more, or whose folders are gone; describe the experiment."""
        planned = {trial.folder for trial in self._plan.trials}
        for key in self._runs.known - {PARENT}:
            if "/" not in key:
                self._runs.mark(key, removed=key not in planned or not self._store.trial(key).has_begun(0))
        self._runs.describe(saved_views(self._plan, self._runs.experiment, self._runs.created, self._runs.metrics))
