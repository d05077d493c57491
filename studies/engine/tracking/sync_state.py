""".mirror.json of a study folder: what MLflow has been told, so that nothing is told twice and a finished study costs
nothing. Losing it costs time only: runs are found by their tag and replayed, and MLflow ignores rows it has."""

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

LOG_TAIL = 64 * 1024
"""Bytes of a trial's log that go to MLflow."""
Seen = list[list[int]]


@dataclass
class Told:
    """One run."""

    run: str = ""
    parent: str = ""
    digest: str = ""
    """Of name, status, tags and params."""
    status: str = ""
    began: str = ""
    """The time of the first event: another one means that the trial began anew."""
    offset: int = 0
    """Bytes of events.jsonl that MLflow has."""
    seen: Seen = field(default_factory=list)
    """Of the files when they were last looked at."""
    history: str = ""
    """Of the parent's aggregates: how many points, and their digest."""


@dataclass
class Memory:
    NAME: ClassVar[str] = ".mirror.json"

    token: str = ""
    """The experiment's own mark: a new database has another."""
    uri: str = ""
    parent: Told = field(default_factory=Told)
    trials: dict[str, Told] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Memory:
        raw = read_json(folder / cls.NAME) or {}
        try:
            trials = {name: Told(**told) for name, told in raw["trials"].items()}
            return cls(raw["token"], raw["uri"], Told(**raw["parent"]), trials)
        except (KeyError, TypeError, AttributeError):
            return cls()

    def save(self, folder: Path) -> None:
        write_atomic(folder / self.NAME, json.dumps(dataclasses.asdict(self)) + "\n", durable=False)


def signature(files: Sequence[Path]) -> Seen:
    """Changes when a file is replaced, written to or gone; costs no reading."""
    return [_stat(file) for file in files]


def identity(file: Path | None) -> int | None:
    """Changes when the file is another one; None where there is none."""
    return next(iter(_stat(file)), None) if file else None


def _stat(file: Path) -> list[int]:
    try:
        found = os.stat(file)
    except OSError:
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def sources(folder: TrialFolder) -> list[Path]:
    """What a trial's run is made of; the events come first."""
    return [folder.events_file, folder.state_file, folder.result_file]


def log_tail(folder: TrialFolder) -> str:
    """The end of the latest attempt's log."""
    log = folder.attempt_folder(max(folder.state().attempt - 1, 0)) / "log.txt"
    try:
        with open(log, "rb") as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(max(0, size - LOG_TAIL))
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def began(folder: TrialFolder) -> str:
    """The time of the first event, empty while there is none."""
    return next((f"{event.time:.3f}" for event in folder.events()), "")


def news(folder: TrialFolder, offset: int) -> tuple[list[Event], int]:
    """The events after a byte offset, and the new offset; a line being written waits for the next time."""
    events: list[Event] = []
    try:
        with open(folder.events_file, "rb") as f:
            f.seek(offset)
            for line in f:
                if not line.endswith(b"\n"):
                    break
                offset += len(line)
                if event := parse_event(line):
                    events.append(event)
    except FileNotFoundError:
        pass
    return events, offset
