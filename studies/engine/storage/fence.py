"""The fence around a trial folder: an attempt writes only while it holds the claim.

A worker may be suspended for any time between two instructions and go on after another attempt has finished. So every
write asks here last; and as one can be suspended in between, what an attempt writes carries its number, by which
readers leave out what came late: `attempts/<n>` is made by attempt n when it begins, once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from studies.engine.core.files import remove, write_atomic
from studies.engine.core.processes import uptime
from studies.engine.core.trial import State
from studies.engine.storage.lease import HEARTBEAT_SECONDS
from studies.engine.storage.trial_folder import TrialFolder


class LeaseLost(BaseException):
    """Another worker holds the folder: write nothing more. A BaseException, so that no task swallows it."""


@dataclass
class Fence:
    """One attempt's right to write. attempt counts from 0."""

    folder: TrialFolder
    token: str
    attempt: int
    lost: bool = False
    _confirmed: float = field(default_factory=uptime)

    def renew(self) -> None:
        """Refresh the claim. LeaseLost: it is not this attempt's any more."""
        self.verify()
        if not self.folder.renew_lease(self.token):
            self._lose()

    def check(self) -> None:
        """Raise LeaseLost if the claim is lost; reads it only if this process may have slept since the last look."""
        if self.lost or uptime() - self._confirmed > HEARTBEAT_SECONDS:
            self.verify()

    def verify(self) -> None:
        """Raise LeaseLost unless the claim is still this attempt's."""
        if self.lost or not self.folder.holds_lease(self.token):
            self._lose()
        self._confirmed = uptime()

    def _lose(self) -> None:
        self.lost = True
        raise LeaseLost

    def set_state(self, state: State) -> None:
        self.folder.set_state(state, self.verify)

    def set_result(self, result: dict[str, object]) -> None:
        try:
            self.folder.set_result({**result, "schema": 1, "attempt": self.attempt + 1}, self.verify)
        except FileExistsError:
            self._lose()

    def write(self, file: Path, data: bytes | str) -> None:
        write_atomic(file, data, commit=self.verify)

    def append(self, file: Path, line: bytes) -> None:
        self.verify()
        with open(file, "ab", buffering=0) as opened:
            opened.write(line)

    def remove_partial_files(self) -> None:
        """Remove what a killed worker left."""
        for place in (self.folder.path, self.folder.checkpoint_file.parent):
            for file in place.glob(".*"):
                with contextlib.suppress(FileNotFoundError):
                    claim = file.name.startswith(".claim.")  # another process may be acquiring it now
                    old = self.folder.lease_file.stat().st_mtime - 600  # no clock of ours
                    if not claim or file.lstat().st_mtime < old:
                        self.verify()
                        remove(file)
        remove(self.folder.stop_file)
