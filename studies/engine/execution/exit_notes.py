"""How the workers of ended jobs ended, as launchers report it a little later than the trial folders show it."""

from __future__ import annotations

import time

from studies.engine.core.trial import State
from studies.engine.jobs.launcher import Handle
from studies.engine.storage.lease import HEARTBEAT_SECONDS

EXIT_NOTE_SECONDS = 5.0
"""Seconds for the launcher to report how the job of a trial ended that this driver did not stop."""
LOSS_SECONDS = max(1.0, HEARTBEAT_SECONDS)
"""Seconds from the first sight of a loss, while its job runs: a suspended worker that goes on takes them at most."""


class ExitNotes:
    """Notes by process id; a trial whose end was seen waits for the note of its process."""

    def __init__(self) -> None:
        self._notes: dict[int, str] = {}
        self._first_seen: dict[str, float] = {}

    def add(self, handle: Handle) -> None:
        self._notes[handle.pid] = handle.exit_note

    def of(self, state: State) -> str | None:
        """Return how a trial's process ended, empty where nothing else ended it; None while that is not known."""
        return self._notes.get(state.pid)

    def is_known(self, name: str, state: State, seconds: float) -> bool:
        """Return whether the note is there, or was waited for long enough since the first sight of the trial's end."""
        since = self._first_seen.setdefault(name, time.monotonic())
        if self.of(state) is None and time.monotonic() - since < seconds:
            return False
        self.forget(name)
        return True

    def forget(self, name: str) -> None:
        """The trial goes on."""
        self._first_seen.pop(name, None)
