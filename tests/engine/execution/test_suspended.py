"""Suspended workers and jumping clocks, while a driver looks on: no retry is used up, nothing is written twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toy

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.execution import driver
from studies.engine.execution.study_lock import STOP, StudyLock, request_stop
from studies.engine.runtime import worker
from studies.engine.storage import lease
from studies.engine.storage.results_dir import Store

STEPS = 40
ONCE = Resources(retries=0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(driver, "LOSS_SECONDS", 0.4)
    monkeypatch.setenv("DYNVIT_HEARTBEAT", "0.2")
    monkeypatch.setenv("DYNVIT_CHECKPOINT_MINUTES", "0")
    return Store(tmp_path)


def beside(drive: Callable[[], object], disturb: Callable[[], None]) -> None:
    """Disturb while driving; an error of the disturbance is an error of the test."""
    problems: list[BaseException] = []

    def run() -> None:
        try:
            disturb()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    drive()
    thread.join()
    assert not problems, problems


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_suspended_worker_is_replaced_and_changes_nothing_when_it_wakes_up(store: Store) -> None:
    trial = toy.trial("a", steps=STEPS, seconds=0.05, resources=ONCE)
    folder, stop, said = store.trial("a"), StopRequest(), list[str]()

    def suspend() -> None:
        until(lambda: folder.state().step > 3)
        first = folder.state().pid
        os.kill(first, signal.SIGSTOP)
        until(lambda: folder.state().attempt == 2 and folder.state().step > 10)
        os.kill(first, signal.SIGCONT)

    outcome = []
    beside(lambda: outcome.append(toy.drive(store, [trial], "local", stop, said.append)), suspend)
    state = outcome[0].states["a"]
    assert (state.status, state.attempt) == ("done", 2), said
    assert [event.step for event in folder.events()] == list(range(1, STEPS + 1))
    calm = toy.trial("calm", steps=STEPS)
    toy.drive(store, [calm])
    assert folder.result()["metrics"] == store.trial("calm").result()["metrics"]  # type: ignore[index]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_no_clock_makes_a_living_worker_of_this_machine_lost(
    store: Store, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = toy.trial("a", steps=STEPS, seconds=0.03, resources=ONCE)
    folder = store.trial("a")

    class Jumped:
        time = staticmethod(lambda now=time.time: now() + jump)

    def step_clock() -> None:
        until(lambda: folder.state().step > 3)
        monkeypatch.setattr(lease, "time", Jumped)
        assert folder.state().status == "running"

    outcome = []
    beside(lambda: outcome.append(toy.drive(store, [trial], "local")), step_clock)
    assert (outcome[0].states["a"].status, outcome[0].states["a"].attempt) == ("done", 1)


def test_a_worker_whose_claim_is_removed_gives_up_and_the_next_goes_on(store: Store) -> None:
    trial = toy.trial("a", steps=STEPS, seconds=0.05)
    folder = store.trial("a")

    def steal() -> None:
        until(lambda: folder.state().step > 3)
        folder.lease_file.unlink()

    outcome = []
    beside(lambda: outcome.append(toy.drive(store, [trial], "local")), steal)
    assert (outcome[0].states["a"].status, outcome[0].states["a"].attempt) == ("done", 2)
    assert [event.step for event in folder.events()] == list(range(1, STEPS + 1))


def test_a_clock_that_is_ahead_takes_nobody_s_claim_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that is just about to place it, beside the worker that cleans up."""
    (folder,) = toy.place(store, toy.trial("a"))
    (begun := folder.path / f".claim.{'a' * 32}").touch()
    (left := folder.path / f".claim.{'b' * 32}").touch()
    os.utime(left, (0, 0))
    monkeypatch.setattr("time.time", lambda real=time.time: real() + 7200)
    assert worker.run_attempt(folder, StopRequest(), inline=True) == "done"
    assert (begun.exists(), left.exists()) == (True, False)


def test_a_driver_that_lost_the_study_leaves_the_stop_request_of_its_successor(store: Store) -> None:
    folder, stop = store.study("toy"), StopRequest()
    with StudyLock(folder, StopRequest()) as first:
        first._claim.path.unlink()
        successor = StudyLock(folder, stop).__enter__()
        assert request_stop(folder)
    assert (folder / STOP).exists()
    until(lambda: bool(stop))
    successor.__exit__()
    assert not (folder / STOP).exists()
