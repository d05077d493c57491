"""Weights that a trial leaves for those that start from it. The wish is a file of its folder: it changes no config."""

from __future__ import annotations

import hashlib
from pathlib import Path

from studies.engine.core.files import open_regular
from studies.engine.storage.trial_folder import TrialFolder

WISH = "keep"


def request(folder: TrialFolder) -> None:
    """Ask the next attempt to keep its weights."""
    (folder.path / WISH).touch()


def are_requested(folder: TrialFolder) -> bool:
    return (folder.path / WISH).exists()


def find(folder: TrialFolder) -> Path | None:
    """Return the weights of a trial that is done, if it has kept them: those that its result names, else the first of
    its files that exists."""
    there = [file for file in folder.weights_files if file.is_file()]
    named = ((folder.result() or {}).get("kept_weights") or {}).get("file")
    return next((file for file in there if file == folder.path / str(named)), there[0] if there else None)


def describe(file: Path, folder: TrialFolder) -> dict[str, str]:
    """Return file name and digest, as results hold them."""
    with open_regular(file) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"file": file.relative_to(folder.path).as_posix(), "sha256": digest}


def changed(folder: TrialFolder) -> bool:
    """Return whether a trial that this finished one started from has other weights now: it was trained again."""
    started = (folder.result() or {}).get("started_from") or {}
    for name, used in started.items():
        now = (TrialFolder(folder.path.parent / name).result() or {}).get("kept_weights")
        if now and now["sha256"] != used["sha256"]:
            return True
    return False
