"""States of a set of trials, read from their folders: cheap to poll, from several threads."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence

from studies.engine.core.trial import State, Status
from studies.engine.storage.trial_folder import TrialFolder

INACTIVE = ("done", "failed", "lost", "stopped")
"""No worker runs it, and none will unless it is queued again."""


class StateWatcher:
    """States by folder id. A folder whose state.json has not changed is not read again, except while it runs."""

    def __init__(self, folders: Sequence[TrialFolder]) -> None:
        self.folders = {folder.id: folder for folder in folders}
        self._states: dict[str, State] = {}
        self._stamps: dict[str, tuple[int, int] | None] = {}
        self._lock = threading.Lock()
        self.poll()

    def poll(self) -> dict[str, State]:
        with self._lock:
            for name, folder in self.folders.items():
                known = self._states.get(name)
                if known is not None and known.status == "done":
                    continue
                stamp = _stamp(folder)
                if known is None or known.status == "running" or stamp != self._stamps[name]:
                    self._states[name], self._stamps[name] = folder.state(), stamp
            return dict(self._states)

    def counts(self) -> Counter[Status]:
        with self._lock:
            return Counter(state.status for state in self._states.values())


def _stamp(folder: TrialFolder) -> tuple[int, int] | None:
    try:
        stat = os.stat(folder.state_file)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
