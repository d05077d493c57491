"""Checks of one trial folder, and temporary files left by killed processes."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from studies.engine.core.files import read_json
from studies.engine.core.trial import Status
from studies.engine.storage.events import parse_event
from studies.engine.storage.lease import HEARTBEAT_SECONDS, STALE_AFTER, Lease
from studies.engine.storage.trial_folder import TrialFolder

OLD_SECONDS = 6 * STALE_AFTER * HEARTBEAT_SECONDS
"""A temporary file that was not written to for this long has no live writer."""
TEMPORARY = re.compile(
    r"\.(.+\.\d+(\.[0-9a-f]{6})?|claim\.(stale\.)?[0-9a-f]{32}|driver\.(stale\.)?[0-9a-f]{32})"
    r"|(gang|rendezvous)-[0-9a-f]{12}"
)
"""Names of unfinished files of `write_atomic`, checkpoints, snapshots, renderings, claims and rendezvous."""

Problem = tuple[Path, str, str]
"""File, what is wrong, what to do."""


@dataclass
class TrialCheck:
    id: str
    status: Status = "planned"
    size: int = 0
    claimed: bool = False
    stale_running: bool = False
    """Its state is running, but no live worker holds it."""
    stale_claim: bool = False
    problems: list[Problem] = field(default_factory=list)


def check_trial(path: Path) -> TrialCheck:
    folder, found = TrialFolder(path), TrialCheck(path.name)
    try:
        found.size = sum(file.lstat().st_size for file in path.rglob("*"))
        claim = Lease(folder.lease_file)
        found.claimed = claim.is_alive()
        found.stale_claim = folder.lease_file.exists() and not found.claimed
        found.status = folder.state().status
        written = read_json(folder.state_file) or {}
        found.stale_running = written.get("status") == "running" and found.status == "lost"
        found.problems = [*_objects(folder), *_events(folder, found.claimed)]
    except OSError as error:
        where = Path(error.filename or path)
        found.problems.append((where, f"cannot be read: {error.strerror}", f"chmod -R u+rwX {path}"))
    return found


def _objects(folder: TrialFolder) -> list[Problem]:
    """Check the files that hold one JSON object each."""
    then = "then repeat the same `studies run`"
    remedies = {
        folder.spec_file: f"rm -r {folder.path}, {then}",
        folder.state_file: f"rm {folder.state_file}, {then}",
        folder.result_file: f"rm {folder.result_file}, {then}",
    }
    problems: list[Problem] = []
    for file, remedy in remedies.items():
        try:
            whole = isinstance(json.loads(file.read_bytes()), dict)
        except FileNotFoundError:
            if file != folder.spec_file:
                continue
            problems.append((file, "is missing", remedy))
        except ValueError:
            problems.append((file, "is damaged", remedy))
        else:
            if not whole:
                problems.append((file, "is damaged", remedy))
    return problems


def _events(folder: TrialFolder, live: bool) -> list[Problem]:
    """Find damaged lines; an incomplete last one is being written, or is cut off by the next attempt."""
    if not folder.events_file.exists():
        return []
    with open(folder.events_file, "rb") as f:
        damaged = [n for n, line in enumerate(f, 1) if parse_event(line) is None and (line.endswith(b"\n") or not live)]
    if not damaged:
        return []
    lines = f"line {damaged[0]}" if len(damaged) == 1 else f"{len(damaged)} lines, the first {damaged[0]},"
    remedy = f"only the curve has a gap; to train it again: rm -r {folder.path}"
    return [(folder.events_file, f"{lines} cannot be read", remedy)]


def temp_files(root: Path, now: float) -> list[Path]:
    """Return temporary files and folders below a results folder that no process writes to any more."""
    found: list[Path] = []
    for place, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(place) / name
            if TEMPORARY.fullmatch(name) and _age(path, now) > OLD_SECONDS:
                found.append(path)
        folders[:] = [name for name in folders if name != "mlartifacts" and not TEMPORARY.fullmatch(name)]
    return sorted(found)


def _age(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_mtime
    except OSError:
        return 0.0
