"""A worker is suspended before each single write, others work on its trial meanwhile, and it goes on."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from signed_task import __file__ as task_file

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import State
from studies.engine.results.readings import Curves
from studies.engine.runtime import worker
from studies.engine.storage import fence
from studies.engine.storage.events import Event, format_event
from studies.engine.storage.fence import Fence, LeaseLost
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

CALLS = ("replace", "rename", "link", "fsync", "write", "mkdir", "unlink", "utime")
STEPS = 3
FIRST, SECOND, THIRD = 1.0, 2.0, 3.0


def made(place: Path) -> TrialFolder:
    folder = Store(place).trial("abc")
    folder.create({"task": task_file, "config": {"steps": STEPS}, "seed": 0})
    return folder


def suspended(folder: TrialFolder, number: int) -> int | None:
    """Start a worker that stops itself before its number-th change of the disk; None where it makes fewer."""
    pid = os.fork()
    if pid == 0:
        os.environ["WHO"] = str(FIRST)
        fence.HEARTBEAT_SECONDS = 0.0  # as after a long suspension: each call looks whether the claim is still there
        counted = 0

        def patched(name: str) -> Callable[..., object]:
            real = getattr(os, name)

            def call(*args: object, **options: object) -> object:
                nonlocal counted
                counted += 1
                if counted == number:
                    os.kill(os.getpid(), signal.SIGSTOP)
                return real(*args, **options)

            return call

        for name in CALLS:
            setattr(os, name, patched(name))
        worker.run_attempt(folder, StopRequest(), inline=True)
        os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return pid
    assert os.waitstatus_to_exitcode(status) == 0
    return None


def go_on(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def requeue(folder: TrialFolder) -> None:
    """As the driver does when the claim is old."""
    if folder.lease_file.exists():
        os.utime(folder.lease_file, (time.time() - 3600,) * 2)
    state = folder.state()
    assert state.status != "running", state
    assert folder.set_state_if_idle(replace(state, status="queued")) == (state.status != "done")


def attempt(folder: TrialFolder, who: float, monkeypatch: pytest.MonkeyPatch, stop: bool = False) -> None:
    monkeypatch.setenv("WHO", str(who))
    request = StopRequest()
    if stop:
        request.request()
    worker.run_attempt(folder, request, inline=True)


def seen(folder: TrialFolder) -> tuple[object, ...]:
    """Everything that anybody reads of a trial."""
    state = folder.state()
    read = [(event.step, event.attempt, event.metrics["who"]) for event in folder.events()]
    maps = folder.path / "maps.npz"
    return state.status, state.attempt, folder.result(), read, maps.read_bytes() if maps.exists() else b""


@pytest.mark.parametrize("then", ["finishes", "is queued", "saves and stops"])
def test_a_worker_that_wakes_up_changes_nothing(then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 200):
        folder = made(tmp_path / str(number))
        pid = suspended(folder, number)
        if pid is None:
            break
        if number == 1:  # it has no claim yet: its turn comes when it wakes up
            go_on(pid)
            continue
        requeue(folder)
        if then != "is queued":
            attempt(folder, SECOND, monkeypatch, stop=then != "finishes")
        before = seen(folder)
        go_on(pid)
        after = seen(folder)
        if then == "is queued":  # its attempt is the latest: the call that it was in may still count, nothing after it
            assert after[0] in ("queued", "lost", "done"), (number, after)
            before = after
        assert after == before, (number, then)
        assert not folder.has_live_worker()
        if after[0] != "done":
            requeue(folder)
            attempt(folder, THIRD, monkeypatch)
        status, _, result, events, maps = seen(folder)
        last = THIRD if after[0] != "done" else result["metrics"]["who"]  # type: ignore[index]
        assert (status, result["metrics"], maps) == ("done", {"who": last}, str(last).encode()), number  # type: ignore[index]
        assert [step for step, _, _ in events] == [1, 2, 3], (number, events)  # type: ignore[attr-defined]
    else:
        pytest.fail("the worker never went through")
    assert number > 30


def test_a_fence_refuses_everything_once_the_claim_is_gone(tmp_path: Path) -> None:
    folder = made(tmp_path)
    token = folder.acquire_lease()
    assert token
    mine = Fence(folder, token, 0)
    mine.set_state(State("running", 1))
    folder.lease_file.unlink()
    for write in (
        lambda: mine.set_state(State("failed", 1)),
        lambda: mine.set_result({"metrics": {}}),
        lambda: mine.write(folder.path / "x", b""),
        mine.renew,
        mine.check,
    ):
        with pytest.raises(LeaseLost):
            write()
    assert folder.acquire_lease()
    with pytest.raises(LeaseLost):
        mine.verify()
    assert sorted(file.name for file in folder.path.iterdir()) == ["claim", "spec.json", "state.json"]


def test_what_an_earlier_attempt_writes_is_not_read(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert folder.begin_attempt(0)
    assert folder.begin_attempt(1)
    assert not folder.begin_attempt(1), "an attempt begins once"
    folder.set_state(State("failed", 1, reason="late"))
    folder.result_file.write_text(json.dumps({"metrics": {}, "attempt": 1}))
    assert (folder.state().status, folder.state().attempt) == ("lost", 2)
    folder.set_result({"metrics": {"top1": 2.0}, "attempt": 2})
    assert folder.state().status == "done"
    with pytest.raises(FileExistsError):
        folder.set_result({"metrics": {}, "attempt": 2}, commit=lambda: None)


def test_lines_of_an_earlier_attempt_after_those_of_a_later_are_not_read(tmp_path: Path) -> None:
    folder = made(tmp_path)
    lines = [(1, 0), (2, 0), (3, 1), (75, 0), (4, 1), (5, 0)]
    folder.events_file.write_bytes(b"".join(format_event(Event(1.0, s, {"loss": 1.0}, a)) for s, a in lines))
    assert [event.step for event in folder.events()] == [1, 2, 3, 4]
    old = [b'{"t": 1, "step": %d, "m": {"loss": 0.5}}\n' % step for step in (1, 2)]
    folder.events_file.write_bytes(b"".join(old) + format_event(Event(1.0, 3, {"loss": 1.0}, 1)))
    assert [event.step for event in folder.events()] == [1, 2, 3], "lines without an attempt are of older versions"


def test_the_latest_value_is_that_of_the_largest_step() -> None:
    curves = Curves()
    latest = curves.add("a", [Event(1.0, 1, {"x": 1.0}), Event(1.0, 60, {"x": 60.0}), Event(1.0, 45, {"x": 45.0})])
    assert latest == {"x": 60.0}
    assert list(curves.step) == [1, 45, 60]
