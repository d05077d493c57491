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


def gather(trials: Sequence[TrialFolder], folder: Path) -> None:
    """Write the study's file if it is out of date; remove it if no finished trial has predictions."""
    target = folder / NAME
    found = [trial for trial in trials if trial.predictions_file.is_file()]
    if not found:
        target.unlink(missing_ok=True)
    elif not _current(target, found):
        write_atomic(target, _archive(found))


def _current(target: Path, trials: Sequence[TrialFolder]) -> bool:
    """Whether the file has exactly these trials and none of them is newer."""
    try:
        written = target.stat().st_mtime_ns
        with zipfile.ZipFile(target) as archive:
            names = {name.split("/")[1] for name in archive.namelist() if name.startswith("prediction/")}
    except (*ZIP_ERRORS, IndexError):
        return False
    return names == {t.id for t in trials} and all(t.predictions_file.stat().st_mtime_ns < written for t in trials)


def _archive(trials: Sequence[TrialFolder]) -> bytes:
    members: dict[str, bytes] = {}
    for trial in trials:
        found = read_zip(trial.predictions_file)
        prediction, target = found.get("prediction.npy"), found.get("target.npy")
        if prediction is None or target is None:
            continue  # a foreign or incomplete file
        name = hashlib.sha256(target).hexdigest()[:8]
        members[f"target/{name}.npy"] = target
        members[f"prediction/{trial.id}/{name}.npy"] = prediction
    return zip_bytes(members, compresslevel=-1)
