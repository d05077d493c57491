"""How the processes of trials ended, by their launcher: often a moment after the trial's folder shows the end."""

from __future__ import annotations

import time

EXIT_NOTE_SECONDS = 5.0
"""Seconds for the launcher to report how the job of a trial ended that this driver did not stop."""


class ExitNotes:
    def __init__(self) -> None:
        self.by_pid: dict[int, str] = {}
        self.first_seen: dict[str, float] = {}
        """Ends of trials whose process has no note yet."""

    def complete(self, name: str, pid: int, jobs_left: bool, seconds: float = 1.0) -> bool:
        """Return whether the note is there, or none came within `seconds` of the first sight of the trial's end."""
        since = self.first_seen.setdefault(name, time.monotonic())
        if pid not in self.by_pid and jobs_left and time.monotonic() - since < seconds:
            return False
        del self.first_seen[name]
        return True
