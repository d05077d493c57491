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

from studies.engine.core.files import lines, read_json, write_atomic
from studies.engine.core.secrets import hide_secrets
from studies.engine.core.typing_check import Issue, validate
from studies.engine.storage.events import Event, current_events
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking.mlflow_uri import database_stamp
from studies.engine.tracking.names import digest

LOG_TAIL = 64 * 1024
"""Bytes of a trial's log that go to MLflow."""


@dataclass
class SyncedRun:
    """What one run in MLflow has."""

    run: str = ""
    digest: str = ""
    """Of its record; of an arm's and its means; of the study's files."""
    offset: int = 0
    """Bytes of events.jsonl."""
    samples: dict[str, int] = field(default_factory=dict)
    """Bytes of system.jsonl, by attempt."""
    stamp: str = ""
    """Of a finished trial, `trial_stamp`: while it stays the same, nothing of the trial is read."""
    code: str = ""
    """`Today.version` that the trial was compared with, to find it stale."""
    files: tuple[str, ...] = ()
    """What that is of, besides the code."""


@dataclass
class SyncState:
    NAME: ClassVar[str] = ".mirror.json"
    VERSION: ClassVar[int] = 4
    """Of what runs show: what an earlier version wrote is brought up to date."""

    version: int = 0
    uri: str = ""
    """Without user and password; reports link to it."""
    database: tuple[int, ...] = (-1, -1)
    """Of the database file: inode, size."""
    experiment: str = ""
    """Its id."""
    name: str = ""
    """Of the experiment, as MLflow has it."""
    owner: str = ""
    """The study folder, as the experiment's tag has it."""
    parent: SyncedRun = field(default_factory=SyncedRun)
    """The study's."""
    arms: dict[str, SyncedRun] = field(default_factory=dict)
    trials: dict[str, SyncedRun] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, uri: str) -> SyncState:
        """Return what MLflow has at this address: nothing if the database was replaced (it has another inode, or is
        smaller), if the file is damaged or of another version."""
        issues, (inode, size) = list[Issue](), database_stamp(uri)
        state = validate(cls, read_json(folder / cls.NAME) or {}, issues)
        known = not issues and state.version == cls.VERSION and state.uri == hide_secrets(uri)
        if known and len(state.database) == 2 and state.database[0] == inode and state.database[1] <= size:
            return state  # type: ignore[no-any-return]
        return cls(cls.VERSION, hide_secrets(uri), (inode, size))

    def save(self, folder: Path, uri: str) -> None:
        self.database = tuple(database_stamp(uri))
        write_atomic(folder / self.NAME, json.dumps(dataclasses.asdict(self)) + "\n", durable=False)


def file_stamps(files: Sequence[Path]) -> str:
    """Return a digest that changes when a file is replaced, written to, added or deleted."""
    found = [(file.name, os.stat(file)) for file in files]
    return digest([(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in found])


def trial_stamp(folder: TrialFolder, shown: object) -> str:
    """Return a digest that changes with the files of a finished trial, and with what else its run shows."""
    stamps: list[tuple[int, ...]] = []
    for file in (folder.spec_file, folder.state_file, folder.result_file, folder.events_file, folder.path / "attempts"):
        try:
            stat = os.stat(file)
        except OSError:
            stamps.append(())
        else:
            stamps.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return digest([shown, stamps])


def new_events(folder: TrialFolder, offset: int) -> tuple[list[Event], int]:
    """Return the events after a byte offset, and the new offset; an incomplete line is left for the next time."""
    new = list(lines(folder.events_file, offset))
    if new and not new[-1].endswith(b"\n"):
        new.pop()
    return list(current_events(new)), offset + sum(map(len, new))


def log_tail(folder: TrialFolder) -> str:
    """Return the end of the latest attempt's log."""
    log = folder.attempt_folder(max(folder.state().attempt - 1, 0)) / "log.txt"
    try:
        return log.read_bytes()[-LOG_TAIL:].decode(errors="replace")
    except OSError:
        return ""
