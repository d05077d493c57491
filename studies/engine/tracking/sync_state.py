""".mirror.json of a study folder: what MLflow has, so that nothing is read twice and a finished study costs nothing.

Losing it costs time only: runs are found by their tags and written again, and MLflow ignores rows that it has.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from studies.engine.core.files import read_json, write_atomic
from studies.engine.storage.trial_folder import Event, TrialFolder, parse_event
from studies.engine.tracking.mlflow_uri import database_stamp, shown
from studies.engine.tracking.run_records import digest

LOG_TAIL = 64 * 1024
"""Bytes of a trial's log that go to MLflow."""


@dataclass
class SyncedRun:
    """What one run in MLflow has."""

    run: str = ""
    digest: str = ""
    """Of its record; of the parent's files."""
    offset: int = 0
    """Bytes of events.jsonl."""


@dataclass
class SyncState:
    NAME: ClassVar[str] = ".mirror.json"

    uri: str
    """Without user and password; reports link to it."""
    database: list[int]
    parent: SyncedRun = field(default_factory=SyncedRun)
    trials: dict[str, SyncedRun] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, uri: str) -> SyncState:
        """Return what MLflow has at this address: nothing if the database was replaced (it has another inode, or is
        smaller)."""
        raw, (inode, size) = read_json(folder / cls.NAME) or {}, database_stamp(uri)
        try:
            trials = {name: SyncedRun(**run) for name, run in raw["trials"].items()}
            state = cls(raw["uri"], raw["database"], SyncedRun(**raw["parent"]), trials)
            if state.uri == shown(uri) and state.database[0] == inode and state.database[1] <= size:
                return state
        except (KeyError, TypeError, AttributeError, IndexError):
            pass
        return cls(shown(uri), [inode, size])

    def save(self, folder: Path, uri: str) -> None:
        self.database = database_stamp(uri)
        write_atomic(folder / self.NAME, json.dumps(dataclasses.asdict(self)) + "\n", durable=False)


def file_stamps(files: Sequence[Path]) -> str:
    """Return a digest that changes when a file is replaced, written to, added or deleted."""
    found = [(file.name, os.stat(file)) for file in files]
    return digest([(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found])


def new_events(folder: TrialFolder, offset: int) -> tuple[list[Event], int]:
    """Return the events after a byte offset, and the new offset; an incomplete line is left for the next time."""
    try:
        with open(folder.events_file, "rb") as f:
            f.seek(offset)
            lines = [line for line in f if line.endswith(b"\n")]
    except FileNotFoundError:
        return [], offset
    return [event for line in lines if (event := parse_event(line))], offset + sum(map(len, lines))


def log_tail(folder: TrialFolder) -> str:
    """Return the end of the latest attempt's log."""
    log = folder.attempt_folder(max(folder.state().attempt - 1, 0)) / "log.txt"
    try:
        return log.read_bytes()[-LOG_TAIL:].decode(errors="replace")
    except OSError:
        return ""
