"""predictions.npz of a study: the finished trials' predictions in one file, each target once. Standard library only.

Members are `prediction/<trial>/<target>` and `target/<target>`, where a target is named by the hash of its content.
They are arrays in numpy's format, so `numpy.load` reads the file. Equal predictions give equal bytes.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from studies.engine.core.files import ZIP_ERRORS, read_zip, write_atomic, zip_bytes
from studies.engine.storage.trial_folder import TrialFolder

NAME = "predictions.npz"
PREDICTION, TARGET = "prediction.npy", "target.npy"


def gather(trials: Sequence[TrialFolder], folder: Path) -> None:
    """Write the study's file if it is out of date; remove it if no finished trial has predictions."""
    target = folder / NAME
    found = [trial for trial in trials if trial.predictions_file.is_file()]
    if not found:
        target.unlink(missing_ok=True)
    elif not _current(target, found):
        write_atomic(target, _archive(found))


def _current(target: Path, trials: Sequence[TrialFolder]) -> bool:
    """Whether the file holds exactly these trials' predictions, by their checksums: times lie where files were copied
    with theirs, or a clock was set back."""
    kept = _checksums(target)
    held = {}
    for member in kept:
        kind, _, rest = member.partition("/")
        if kind == "prediction":
            trial, _, name = rest.partition("/")
            held[trial] = (kept[member], kept.get(f"target/{name}"))
    now = {trial.id: _checksums(trial.predictions_file) for trial in trials}
    return held == {
        name: (found[PREDICTION], found[TARGET]) for name, found in now.items() if {PREDICTION, TARGET} <= found.keys()
    }


def _checksums(file: Path) -> dict[str, tuple[int, int]]:
    """Return CRC and size of each member, from the archive's directory alone; none of a file that is no archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {member.filename: (member.CRC, member.file_size) for member in archive.infolist()}
    except ZIP_ERRORS:
        return {}


def _archive(trials: Sequence[TrialFolder]) -> bytes:
    members: dict[str, bytes] = {}
    for trial in trials:
        found = read_zip(trial.predictions_file)
        prediction, target = found.get(PREDICTION), found.get(TARGET)
        if prediction is None or target is None:
            continue  # a foreign or incomplete file
        name = hashlib.sha256(target).hexdigest()[:8]
        members[f"target/{name}.npy"] = target
        members[f"prediction/{trial.id}/{name}.npy"] = prediction
    return zip_bytes(members, compresslevel=-1)
