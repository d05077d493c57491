"""Checks of one trial folder, and temporary files left by killed processes."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.engine.core.files import DamagedFile, lines
from studies.engine.core.trial import State
from studies.engine.storage import kept_weights, records
from studies.engine.storage.checkpoint import Checkpoint
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

THEN = "then repeat the same `studies run`"

Problem = tuple[Path, str, str]
"""File, what is wrong, what to do."""


@dataclass
class TrialCheck:
    id: str
    state: State = field(default_factory=State)
    size: int = 0
    claimed: bool = False
    stale_running: bool = False
    """Its state is running, but no live worker holds it."""
    stale_claim: bool = False
    problems: list[Problem] = field(default_factory=list)


def check_trial(path: Path) -> TrialCheck:
    folder, found = TrialFolder(path), TrialCheck(path.name)
    if not path.is_dir():
        found.problems.append((path, "is not a folder", f"rm {path}, {THEN}"))
        return found
    try:
        found.size = sum(os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(path) for name in names)
        claim = Lease(folder.lease_file)
        found.claimed = claim.is_alive()
        found.stale_claim = os.path.lexists(folder.lease_file) and not found.claimed
        state, result = folder.state_and_result()
        found.state = state
        found.stale_running = state.status == "lost" and not state.ended and state.attempt > 0
        found.problems = [*_objects(folder, state.attempt), *_archives(folder), *_weights(folder, result or {})]
        found.problems += _events(folder, found.claimed)
    except OSError as error:
        where = Path(error.filename or path)
        found.problems.append((where, f"cannot be read: {error.strerror}", f"chmod -R u+rwX {path}"))
    return found


def _objects(folder: TrialFolder, attempts: int) -> list[Problem]:
    """Check the files that hold one JSON object each."""
    env = folder.attempt_folder(max(attempts - 1, 0)) / "env.json"
    sidecar = Checkpoint(folder).sidecar
    anew = f"rm -r {folder.path}, {THEN}"
    checks: dict[Path, tuple[Callable[[Path], object], str]] = {
        folder.spec_file: (records.read_spec, anew),
        folder.state_file: (records.read_state, f"rm -r {folder.state_file}, {THEN}"),
        folder.result_file: (records.read_result, f"rm -r {folder.result_file}, {THEN}"),
        sidecar: (records.read_checkpoints, f"rm -r {sidecar.parent}, {THEN}: the trial starts from the beginning"),
        env: (records.read_environment, f"only the record of its machine is lost; to train it again: {anew}"),
    }
    problems: list[Problem] = []
    for file, (read, remedy) in checks.items():
        try:
            found = read(file)
            if found is None and file == folder.spec_file:
                problems.append((file, "is missing", remedy))
            elif isinstance(found, dict) and file == folder.spec_file and found.get("id", folder.id) != folder.id:
                problems.append((file, f"is of the trial {found['id']}: the folder was renamed or copied", remedy))
        except DamagedFile as error:
            problems.append((file, str(error), remedy))
    return problems


def _archives(folder: TrialFolder) -> list[Problem]:
    found = [folder.predictions_file, folder.path / "maps.npz"]
    remedy = f"only figures and paired tests miss it; to train it again: rm -r {folder.path}, {THEN}"
    return [
        (file, "is damaged", remedy)
        for file in found
        if os.path.lexists(file) and not (file.is_file() and zipfile.is_zipfile(file))
    ]


def _weights(folder: TrialFolder, result: Mapping[str, Any]) -> list[Problem]:
    """Compare the weights that the trial has kept for others with what its result says; they may have been removed."""
    if (kept := result.get("kept_weights")) is None:
        return []
    file = kept_weights.find(folder)
    if file is None or kept_weights.describe(file, folder) == kept:
        return []
    remedy = f"no trial starts from it; to train it again: rm -r {folder.path}, {THEN}"
    return [(file, "is not what the trial kept: its content has changed", remedy)]


def _events(folder: TrialFolder, live: bool) -> list[Problem]:
    """Find damaged lines; an incomplete last one is being written, or is cut off by the next attempt."""
    file, here = folder.events_file, lines(folder.events_file)
    if os.path.lexists(file) and not file.is_file():
        return [(file, "is not a file", f"rm -r {file}")]
    damaged = [n for n, line in enumerate(here, 1) if parse_event(line) is None and (line.endswith(b"\n") or not live)]
    if not damaged:
        return []
    where = f"line {damaged[0]}" if len(damaged) == 1 else f"{len(damaged)} lines, the first {damaged[0]},"
    remedy = f"only the curve has a gap; to train it again: rm -r {folder.path}"
    return [(file, f"{where} cannot be read", remedy)]


def temp_files(root: Path, now: float) -> list[Path]:
    """Return temporary files and folders below a results folder that no process writes to any more."""
    found: list[Path] = []
    for place, folders, files in os.walk(root):
        for name in [*folders, *files]:
            if TEMPORARY.fullmatch(name) and _age(path := Path(place, name), now) > OLD_SECONDS:
                found.append(path)
        folders[:] = [name for name in folders if name != "mlartifacts" and not TEMPORARY.fullmatch(name)]
    return sorted(found)


def _age(path: Path, now: float) -> float:
    try:
        return now - path.lstat().st_mtime
    except OSError:
        return 0.0
