"""The worker's second thread: renews lease and state, polls for a stop request, detects a dead parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from studies.engine.core.files import lines
from studies.engine.core.processes import is_alive
from studies.engine.core.settings import number
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import State
from studies.engine.runtime.context import TrialContext
from studies.engine.storage.fence import Fence, LeaseLost
from studies.engine.storage.lease import HEARTBEAT_SECONDS

POLL_SECONDS = min(1.0, HEARTBEAT_SECONDS / 2)
ORPHAN_GRACE_SECONDS = 5.0
"""Seconds that a worker has to save after its parent has died."""
TIMEOUT_GRACE_SECONDS = number("DYNVIT_OVERTIME_SECONDS", 20)
"""Seconds that an attempt has to save after its time limit."""


class ParentMonitor:
    """Watches the processes that this one must not outlive: its parent, and the driver of a private cluster."""

    def __init__(self) -> None:
        self._parent = int(os.environ.get("DYNVIT_PARENT") or os.getppid())
        pid, _, birth = os.environ.get("DYNVIT_DRIVER", "").partition(":")
        self._driver, self._birth = int(pid or 0), birth
        if sys.platform == "linux":
            ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    def dead(self) -> bool:
        if os.getppid() != self._parent:
            return True
        return bool(self._driver) and not is_alive(self._driver, self._birth)


class Heartbeat:
    """Use as a context manager around one attempt; writes `state` with the context's step and values."""

    def __init__(
        self, fence: Fence, state: State, context: TrialContext, stop: StopRequest, parents: ParentMonitor | None
    ) -> None:
        self._fence, self._state, self._context = fence, state, context
        self._stop, self._parents = stop, parents
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._touched = self._began = time.monotonic()
        self._orphan_since: float | None = None
        self.minutes: float | None = None
        """Time limit of this attempt."""
        self.on_timeout: Callable[[str], None] = lambda reason: None
        """Called with the reason where the attempt goes on for TIMEOUT_GRACE_SECONDS after its limit."""

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def state(self) -> State:
        """Return the current state."""
        context = self._context
        return replace(
            self._state, step=context.step, steps=context.steps, latest=dict(context.latest), heartbeat=time.time()
        )

    def _run(self) -> None:
        written = self._state
        while not self._end.wait(POLL_SECONDS):
            try:
                self._poll_stop_request()
                self._check_deadline()
                due = time.monotonic() - self._touched >= HEARTBEAT_SECONDS
                self._fence.renew() if due else self._fence.check()
                now = self.state()
                if due or (now.step, now.latest) != (written.step, written.latest):
                    self._fence.set_state(now)
                    written = now
                if due:
                    self._touched = time.monotonic()
            except LeaseLost:
                return  # the task meets it at its next call
            except OSError:
                continue  # full disk, network drive offline: the task meets the error itself, or it passes

    def _check_deadline(self) -> None:
        over = time.monotonic() - self._began - 60 * self.minutes if self.minutes else -1.0
        if over < 0:
            return
        self._context.time_limit_reason = f"took longer than its {self.minutes:g} minutes (resources.minutes)"
        if over > TIMEOUT_GRACE_SECONDS:
            self.on_timeout(self._context.time_limit_reason)

    def _poll_stop_request(self) -> None:
        if self._parents is not None and self._parents.dead():
            self._stop.request()
            self._orphan_since = self._orphan_since or time.monotonic()
            if time.monotonic() - self._orphan_since > ORPHAN_GRACE_SECONDS:
                if os.getpgid(0) == os.getpid():
                    os.killpg(0, signal.SIGKILL)  # with the processes it started
                os._exit(1)
        if b"".join(lines(self._fence.folder.stop_file)).strip() == self._fence.token.encode():
            self._stop.request()
