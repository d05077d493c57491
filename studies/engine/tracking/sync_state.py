""".mirror.json of a study folder: what MLflow has, so that nothing is written twice and a finished study costs nothing.

Losing it costs time only: runs are found by their tags and replayed, and MLflow ignores rows that it has.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from studies.engine.core.files import lines, read_json, write_atomic
from studies.engine.core.typing_check import Issue, validate
from studies.engine.storage.events import Event, current_events
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking.mlflow_uri import database_stamp

LOG_TAIL = 64 * 1024
"""Bytes of a trial's log that go to MLflow."""
FileStamps = list[list[int]]


@dataclass
class SyncedRun:
    """State of one run in MLflow."""

    run: str = ""
    parent: str = ""
    digest: str = ""
    """Of name, status, tags and params."""
    status: str = ""
    began: str = ""
    """Time of the first event: it changes when the trial restarts from scratch."""
    offset: int = 0
    """Bytes of events.jsonl that MLflow has."""
    seen: FileStamps = field(default_factory=list)
    """Of the trial's files when they were last read."""
    history: str = ""
    """Of the parent's aggregates: number of points, and their digest."""


@dataclass
class SyncState:
    NAME: ClassVar[str] = ".mirror.json"

    uri: str = ""
    database: tuple[int, ...] = (-1, -1)
    """Of the database file: inode, size."""
    parent: SyncedRun = field(default_factory=SyncedRun)
    trials: dict[str, SyncedRun] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> SyncState:
        issues = list[Issue]()
        found = validate(cls, read_json(folder / cls.NAME) or {}, issues)
        return found if not issues and len(found.database) == 2 else cls()

    def is_of(self, uri: str) -> bool:
        """Whether this is about the database that is there now: a replaced one has another inode, or is smaller."""
        inode, size = database_stamp(uri)
        return self.uri == uri and self.database[0] == inode and self.database[1] <= size

    def drop_missing(self, runs: Collection[str]) -> None:
        """Forget the runs that are not in MLflow any more."""
        self.trials = {name: synced for name, synced in self.trials.items() if synced.run in runs}
        if self.parent.run not in runs:
            self.parent = SyncedRun()

    def save(self, folder: Path) -> None:
        self.database = database_stamp(self.uri)
        write_atomic(folder / self.NAME, json.dumps(dataclasses.asdict(self)) + "\n", durable=False)


def file_stamps(files: Sequence[Path]) -> FileStamps:
    """Return inode, size and time of files: they change when a file is replaced, written to or deleted."""
    return [_stat(file) for file in files]


def _stat(file: Path) -> list[int]:
    try:
        found = os.stat(file)
    except OSError:
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def sources(folder: TrialFolder) -> list[Path]:
    """Return the files that a trial's run is made of, the events first."""
    return [folder.events_file, folder.state_file, folder.result_file]


def log_tail(folder: TrialFolder) -> str:
    """Return the end of the latest attempt's log."""
    log = folder.attempt_folder(max(folder.state().attempt - 1, 0)) / "log.txt"
    try:
        with open(log, "rb") as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(max(0, size - LOG_TAIL))
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def first_event_time(folder: TrialFolder) -> str:
    """Return the time of the first event, empty while there is none."""
    return next((f"{event.time:.3f}" for event in folder.events()), "")


def new_events(folder: TrialFolder, offset: int) -> tuple[list[Event], int]:
    """Return the events after a byte offset, and the new offset; an incomplete line is left for the next time."""
    new = list(lines(folder.events_file, offset))
    if new and not new[-1].endswith(b"\n"):
        new.pop()
    return list(current_events(new)), offset + sum(map(len, new))
