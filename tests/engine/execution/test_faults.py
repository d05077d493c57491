"""A kill, or a full disk, at each single write of a trial: the folder stays readable, the next attempt completes it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy

from studies.engine.core.stop import StopRequest
from studies.engine.runtime import worker
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

CALLS = ("replace", "rename", "link", "fsync", "write", "mkdir", "unlink", "utime")
MOST = 200


def at_call(number: int, do: Callable[[], None]) -> Callable[[], int]:
    """Patch this process: `do` instead of the number-th call that changes the disk. Returns how many there were."""
    count = 0

    def patched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                do()
            return real(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, patched(name))
    return lambda: count


def in_a_child(folder: TrialFolder, number: int, do: Callable[[], None]) -> int:
    """Runs the trial there; 0 where it went through with fewer calls, 1 where the call was reached, 9 where it died."""
    pid = os.fork()
    if pid == 0:
        try:
            counted = at_call(number, do)
            with contextlib.suppress(OSError):
                worker.run_attempt(folder, StopRequest(), inline=True)
            os._exit(1 if counted() >= number else 0)
        except BaseException:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill() -> None:
    os._exit(9)


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fault", [kill, full])
def test_a_fault_at_every_write(tmp_path: Path, fault: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.runtime.context.CHECKPOINT_SECONDS", 0.0)
    store = Store(tmp_path)
    (whole,) = toy.place(store, toy.trial("whole", steps=3))
    assert worker.run_attempt(whole, StopRequest(), inline=True) == "done"
    curve = [(event.step, event.metrics) for event in whole.events()]
    for number in range(1, MOST):
        (folder,) = toy.place(store, toy.trial(f"t{number}", steps=3))
        code = in_a_child(folder, number, fault)
        if code == 0:
            break
        assert code == (9 if fault is kill else 1)
        state = folder.state()
        assert state.status in ("planned", "lost", "failed", "done"), number
        assert not folder.has_live_worker()
        read = [event.step for event in folder.events()]
        assert read == sorted(set(read))
        if state.status != "done":
            if state.status != "planned":
                assert folder.set_state_if_idle(state.__class__("queued", state.attempt))
            assert worker.run_attempt(folder, StopRequest(), inline=True) == "done", (number, folder.state().reason)
            assert not [file.name for file in folder.path.iterdir() if file.name.startswith((".s", ".r"))], number
        assert folder.result()["metrics"] == whole.result()["metrics"]  # type: ignore[index]
        assert [(event.step, event.metrics) for event in folder.events()] == curve, number
    else:
        pytest.fail("the trial never went through")
    assert number > 20
