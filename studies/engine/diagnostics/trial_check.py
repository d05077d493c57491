"""One trial folder looked at closely, and files that a killed process left half-written."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from studies.engine.core.files import read_json
from studies.engine.core.trial import Status
from studies.engine.storage.lease import HEARTBEAT_SECONDS, STALE_AFTER, Lease
from studies.engine.storage.trial_folder import TrialFolder, parse_event

OLD_SECONDS = 6 * STALE_AFTER * HEARTBEAT_SECONDS
"""A temporary file that nobody has written to for so long is nobody's."""
TEMPORARY = re.compile(
    r"\.(.+\.\d+(\.[0-9a-f]{6})?|claim\.(stale\.)?[0-9a-f]{32}|driver\.(stale\.)?[0-9a-f]{32})|gang-[0-9a-f]{12}"
)
"""Names that `write_atomic`, checkpoints, snapshots, renderings, claims and gangs give to what is not finished."""

Problem = tuple[Path, str, str]
"""File, what is wrong with it, what to do."""


@dataclass
class Examined:
    id: str
    status: Status = "planned"
    size: int = 0
    claimed: bool = False
    stuck: bool = False
    """Says that it runs, and nobody works on it."""
    stale_claim: bool = False
    problems: list[Problem] = field(default_factory=list)


def examine(path: Path) -> Examined:
    folder, found = TrialFolder(path), Examined(path.name)
    try:
        found.size = sum(file.lstat().st_size for file in path.rglob("*"))
        claim = Lease(folder.lease_file)
        found.claimed = claim.is_alive()
        found.stale_claim = folder.lease_file.exists() and not found.claimed
        found.status = folder.state().status
        written = read_json(folder.state_file) or {}
        found.stuck = written.get("status") == "running" and found.status == "lost"
        found.problems = [*_objects(folder), *_events(folder, found.claimed)]
    except OSError as error:
        where = Path(error.filename or path)
        found.problems.append((where, f"cannot be read: {error.strerror}", f"chmod -R u+rwX {path}"))
    return found


def _objects(folder: TrialFolder) -> list[Problem]:
    """The files that hold one JSON object each."""
    again = "then type the same `studies run` again"
    remedies = {
        folder.spec_file: f"rm -r {folder.path}, {again}",
        folder.state_file: f"rm {folder.state_file}, {again}",
        folder.result_file: f"rm {folder.result_file}, {again}",
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
    """Damaged lines; a last one without its end is being written, or cut by the next attempt."""
    if not folder.events_file.exists():
        return []
    with open(folder.events_file, "rb") as f:
        damaged = [n for n, line in enumerate(f, 1) if parse_event(line) is None and (line.endswith(b"\n") or not live)]
    if not damaged:
        return []
    lines = f"line {damaged[0]}" if len(damaged) == 1 else f"{len(damaged)} lines, the first {damaged[0]},"
    remedy = f"only the curve has a gap; to train it again: rm -r {folder.path}"
    return [(folder.events_file, f"{lines} cannot be read", remedy)]


def leftovers(root: Path, now: float) -> list[Path]:
    """Temporary files and folders below a results folder that nobody writes to any more."""
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
