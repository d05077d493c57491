"""The driver's loop: retries, losses, stops, jobs that never start, on the launchers that need nothing installed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import toy

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources, State
from studies.engine.execution.driver import Driver
from studies.engine.execution.job_table import MAX_JOBS_WITHOUT_START
from studies.engine.jobs.launcher import (
    Handle,
    Job,
    JobState,
    LaunchContext,
    LaunchError,
    create_launcher,
    default_launcher,
    launcher_names,
)
from studies.engine.runtime.worker import run_attempt
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher
from studies.engine.storage.trial_folder import TrialFolder

HERE = ("inline", "local")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, and in the workers' processes."""
    monkeypatch.setattr("studies.engine.runtime.heartbeat.POLL_SECONDS", 0.05)
    monkeypatch.setattr("studies.engine.runtime.context.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setenv("DYNVIT_HEARTBEAT", "0.2")
    monkeypatch.setenv("DYNVIT_CHECKPOINT_MINUTES", "0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def statuses(outcome: object) -> dict[str, str]:
    return {name: state.status for name, state in outcome.states.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("on", HERE)
def test_all_done(store: Store, on: str) -> None:
    outcome = toy.drive(store, [toy.trial(f"t{i}", seed=i) for i in range(5)], on)
    assert set(statuses(outcome).values()) == {"done"}
    assert not outcome.interrupted
    assert not outcome.problem


def test_launchers_give_the_same_numbers(tmp_path: Path) -> None:
    got = []
    for on in HERE:
        store = Store(tmp_path / on)
        toy.drive(store, [toy.trial(f"t{i}", seed=i) for i in range(3)], on)
        got.append(toy.numbers(store, "t0", "t1", "t2"))
    assert got[0] == got[1]


@pytest.mark.parametrize("on", HERE)
def test_failures_are_rows(store: Store, on: str) -> None:
    said: list[str] = []
    trials = [toy.trial("good"), toy.trial("bad", fault="raise", resources=Resources(retries=2))]
    outcome = toy.drive(store, trials, on, say=said.append)
    assert statuses(outcome) == {"good": "done", "bad": "failed"}
    assert outcome.states["bad"].attempt == 3
    assert len([line for line in said if "bad" in line and "raised as configured" in line]) == 2


def test_a_failure_whose_worker_is_still_ending_counts_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    release = TrialFolder.release_lease

    def release_late(folder: TrialFolder, token: str) -> None:
        if folder.state().status == "failed":
            threading.Timer(1.0, release, (folder, token)).start()  # the driver polls several times in between
        else:
            release(folder, token)

    monkeypatch.setattr(TrialFolder, "release_lease", release_late)
    trial = toy.trial("a", fault="raise", attempts=2, resources=Resources(retries=2))
    outcome = toy.drive(store, [trial])
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("done", 3)


@pytest.mark.parametrize("on", HERE)
def test_retries_up_to_the_limit(store: Store, on: str) -> None:
    outcome = toy.drive(store, [toy.trial("a", fault="raise", attempts=1, resources=Resources(retries=1))], on)
    assert statuses(outcome) == {"a": "done"}
    assert outcome.states["a"].attempt == 2


def test_a_crash_ends_no_other_trial(store: Store) -> None:
    trials = [toy.trial(f"t{i}", resources=Resources(retries=0)) for i in range(6)]
    trials[1] = toy.trial("kill", fault="kill", resources=Resources(retries=0))
    trials[3] = toy.trial("exit", fault="exit", resources=Resources(retries=0))
    outcome = toy.drive(store, trials, "local")
    found = statuses(outcome)
    assert found.pop("kill") == found.pop("exit") == "lost"
    assert set(found.values()) == {"done"}
    assert "SIGKILL" in outcome.states["kill"].reason


def test_a_crashed_trial_is_tried_again(store: Store) -> None:
    outcome = toy.drive(store, [toy.trial("a", fault="kill", attempts=1)], "local")
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("done", 2)


def test_earlier_failures_do_not_count(store: Store) -> None:
    trial = toy.trial("a", fault="raise", attempts=3, resources=Resources(retries=1))
    assert statuses(toy.drive(store, [trial])) == {"a": "failed"}
    outcome = toy.drive(store, [trial])
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("done", 4)


def test_a_trial_of_another_worker_is_watched_not_started(store: Store, tmp_path: Path) -> None:
    trials = [toy.trial("a", seconds=0.1, steps=15, side=str(tmp_path)), toy.trial("b")]
    (folder, _) = toy.place(store, *trials)
    orphans = create_launcher("local", LaunchContext(store.root, store.study("toy"), {}))
    handles = orphans.submit([Job((folder.path,), Resources())])
    while folder.state().status != "running":
        time.sleep(0.02)
    outcome = toy.drive(store, trials)
    assert statuses(outcome) == {"a": "done", "b": "done"}
    assert (tmp_path / "completed").read_text() == "a 1\n"
    assert outcome.states["a"].pid == handles[0].native.pid != os.getpid()
    orphans.close()


@pytest.mark.parametrize("on", HERE)
def test_a_worker_of_another_driver_that_is_killed_is_not_this_run_s_failure(store: Store, on: str) -> None:
    trial = toy.trial("a", seconds=0.1, steps=10, resources=Resources(retries=0))
    (folder,) = toy.place(store, trial)
    other = create_launcher("local", LaunchContext(store.root, store.study("other"), {}))
    handles = other.submit([Job((folder.path,), trial.resources)])
    while folder.state().step < 2:
        time.sleep(0.02)
    threading.Timer(0.5, other.stop, (handles, True)).start()
    outcome = toy.drive(store, [trial], on)
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("done", 2)
    other.close()


@pytest.mark.parametrize("on", HERE)
def test_stop_saves_and_the_next_drive_goes_on(store: Store, on: str) -> None:
    trials = [toy.trial("a", steps=40, seconds=0.05), toy.trial("b", steps=40, seconds=0.05), toy.trial("c")]
    stop = StopRequest()

    def press() -> None:
        while store.trial("a").state().step < 3:
            time.sleep(0.02)
        stop.request()

    thread = threading.Thread(target=press)
    thread.start()
    outcome = toy.drive(store, trials, on, stop)
    thread.join()
    assert outcome.interrupted
    assert statuses(outcome)["a"] == "stopped"
    assert store.trial("a").checkpoint_file.exists()
    assert set(statuses(toy.drive(store, trials, on)).values()) == {"done"}
    assert "resumed before step" in (store.trial("a").attempt_folder(1) / "log.txt").read_text()


def test_a_trial_that_ignores_a_stop_is_killed_and_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.execution.driver.STOP_GRACE_SECONDS", 0.5)
    (folder,) = toy.place(store, trial := toy.trial("a", fault="deaf"))
    watch = StateWatcher([folder])
    stop = StopRequest()
    drive = Driver(
        [trial], watch, create_launcher("local", LaunchContext(store.root, store.study("toy"), {}, stop)), stop, print
    )
    while drive._step():
        if folder.state().step > 0:
            stop.request()
        time.sleep(0.05)
    drive._mark_killed()
    assert folder.state().status == "stopped"
    assert "killed" in folder.state().reason


class NeverStarts:
    """A launcher whose processes end before they do anything, as where Python is missing on the node."""

    name, work_stealing, trials_per_job, interval = "never-starts", True, 1, 0.0

    def __init__(self) -> None:
        self.submitted = 0

    def capacity(self, resources: Resources) -> int:
        return 1

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        self.submitted += len(jobs)
        return [Handle(job) for job in jobs]

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        for handle in handles:
            handle.exit_note = "no such file: python"
        return dict.fromkeys(handles, "gone")

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None: ...

    def close(self) -> None: ...


def test_workers_that_never_start_a_trial_end_the_drive(store: Store) -> None:
    (folder,) = toy.place(store, trial := toy.trial("a"))
    launcher = NeverStarts()
    outcome = Driver([trial], StateWatcher([folder]), launcher, StopRequest(), print).run()
    assert outcome.problem == "workers exit before starting a trial: no such file: python"
    assert launcher.submitted == MAX_JOBS_WITHOUT_START
    assert not outcome.interrupted


class Queue(NeverStarts):
    """A batch queue: each trial in one job, which runs to its end when it is polled."""

    name, work_stealing, trials_per_job = "queue", False, 2

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[list[str]] = []

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        self.jobs += [[folder.name for folder in job.folders] for job in jobs]
        return [Handle(job) for job in jobs]

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        for handle in handles:
            for folder in handle.job.folders:
                run_attempt(TrialFolder(folder), StopRequest(), inline=True)
        return dict.fromkeys(handles, "gone")


def test_a_queue_gets_each_trial_once_and_retries_separately(store: Store) -> None:
    trials = [toy.trial(f"t{i}") for i in range(5)]
    trials[1] = toy.trial("bad", fault="raise", attempts=1)
    queue = Queue()
    outcome = Driver(trials, StateWatcher(toy.place(store, *trials)), queue, StopRequest(), print).run()
    assert set(statuses(outcome).values()) == {"done"}
    assert queue.jobs == [["t0", "bad"], ["t2", "t3"], ["t4"], ["bad"]]


class OneGpu(Queue):
    def __init__(self) -> None:
        super().__init__()
        self.gpus: list[float] = []

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        self.gpus += [job.resources.gpus for job in jobs]
        return super().submit(jobs)


def test_out_of_memory_is_tried_once_alone_on_a_whole_gpu(store: Store) -> None:
    trial = toy.trial("a", fault="memory", resources=Resources(gpus=0.25, retries=0))
    queue = OneGpu()
    outcome = Driver([trial], StateWatcher(toy.place(store, trial)), queue, StopRequest(), print).run()
    assert queue.gpus == [0.25, 1]
    assert outcome.states["a"].reason == "oom"


class EndsOutOfMemory(Queue):
    """Stops its workers when memory runs out, so that they save, as Ray's memory monitor does."""

    work_stealing = True

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        for handle in handles:
            stop = StopRequest()
            stop.request()
            run_attempt(TrialFolder(handle.job.folders[0]), stop, inline=True)
            handle.pid, handle.exit_note = os.getpid(), "oom"
        return dict.fromkeys(handles, "gone")


def test_memory_that_always_runs_out_ends_by_the_attempts(store: Store) -> None:
    trial = toy.trial("a", resources=Resources(retries=2))
    outcome = Driver([trial], StateWatcher(toy.place(store, trial)), EndsOutOfMemory(), StopRequest(), print).run()
    state = outcome.states["a"]
    assert (state.status, state.attempt, state.reason) == ("failed", 3, "oom")


@pytest.mark.parametrize("on", HERE)
@pytest.mark.parametrize("fault", ["none", "deaf"])
def test_a_trial_over_its_minutes(store: Store, on: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It saves and is tried again, from there; one that does not listen is ended."""
    monkeypatch.setattr("studies.engine.runtime.heartbeat.TIMEOUT_GRACE_SECONDS", 0.3)
    monkeypatch.setenv("DYNVIT_OVERTIME_SECONDS", "0.3")
    slow = toy.trial("a", steps=400, seconds=0.02, fault=fault, resources=Resources(minutes=0.02, retries=1))
    if fault == "deaf":
        slow.config["fault"]["step"] = 1
    outcome = toy.drive(store, [slow, toy.trial("b")], on)
    state = outcome.states["a"]
    assert (state.status, state.attempt) == ("failed", 2)
    assert state.reason == "took longer than its 0.02 minutes (resources.minutes)"
    assert outcome.states["b"].status == "done"
    assert not outcome.interrupted
    if fault == "none":
        assert "resumed before step" in (store.trial("a").attempt_folder(1) / "log.txt").read_text()


def test_a_full_disk_ends_the_drive_with_the_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [toy.trial("a"), toy.trial("b")]
    real = os.fsync

    def fsync(number: int) -> None:
        if store.trial("a").result_file.exists():
            raise OSError(28, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    outcome = toy.drive(store, trials)
    assert statuses(outcome) == {"a": "done", "b": "failed"}
    assert "disk is full" in outcome.states["b"].reason


def test_launchers_are_found_by_name(tmp_path: Path) -> None:
    assert {"inline", "local", "ray"} <= set(launcher_names())
    with pytest.raises(LaunchError, match="no launcher inlin, did you mean inline"):
        create_launcher("inlin", LaunchContext(tmp_path, tmp_path, {}))
    with pytest.raises(LaunchError, match="there are inline, local"):
        create_launcher("../x", LaunchContext(tmp_path, tmp_path, {}))


def test_which_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_launcher("local", 5) == ("local", "")
    assert default_launcher(None, 1)[0] == "inline"
    assert default_launcher(None, 5)[0] == "ray"
    monkeypatch.setattr("studies.engine.jobs.launcher.find_spec", lambda name: None)
    name, line = default_launcher(None, 5)
    assert name == "inline"
    assert "ray is not installed" in line


def test_more_cores_than_there_are(store: Store) -> None:
    with pytest.raises(LaunchError, match="asks for 10000 cores, this machine has"):
        toy.drive(store, [toy.trial("a", resources=Resources(cpus=10000))], "local")


def test_a_watch_reads_only_what_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = toy.place(store, *(toy.trial(f"t{i}") for i in range(4)))
    watch = StateWatcher(folders)
    read: list[str] = []
    real = type(folders[0]).state
    monkeypatch.setattr(type(folders[0]), "state", lambda self: read.append(self.id) or real(self))
    watch.poll()
    assert read == []
    folders[2].set_state(State("failed", 1))
    assert watch.poll()["t2"].status == "failed"
    assert read == ["t2"]


def test_an_error_that_cannot_heal_is_not_tried_again(store: Store) -> None:
    """The toy's folder is missing: opening a file in it fails in every attempt."""
    trial = toy.trial("a", side="/nowhere/at/all", resources=Resources(retries=3))
    outcome = toy.drive(store, [trial, toy.trial("b")])
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("failed", 1)
    assert outcome.states["a"].permanent and outcome.states["b"].status == "done"
    assert outcome.states["a"].reason.startswith("FileNotFoundError: ")
    again = toy.drive(store, [trial])  # asked for again, it is tried again
    assert again.states["a"].attempt == 2
