"""Location of a data set's files: `data.root`, or a folder under $DYNVIT_DATA."""

from __future__ import annotations

import os
from pathlib import Path

from dynvit.config.data import Data

VARIABLE = "DYNVIT_DATA"


def find_root(data: Data, must_exist: bool = True) -> Path:
    """Return the folder of the data set. Raises FileNotFoundError naming the places that were tried."""
    base = os.environ.get(VARIABLE)
    if must_exist and not data.root and not base:
        raise FileNotFoundError(
            f"data set {data.name} not found: set data.root, or {VARIABLE} to a folder with {data.name}/ in it"
        )
    tried = places(data)
    for place in tried:
        if os.path.isdir(place):  # False for what the file system refuses, where Path.is_dir raises
            return place.resolve()
    if must_exist:
        names = " or ".join(str(place.absolute()) for place in tried)
        hint = "" if base or tried[0].is_absolute() else f" ({VARIABLE} is not set)"
        raise FileNotFoundError(f"no folder {names} for the data set {data.name}{hint}")
    return tried[-1].absolute()


def places(data: Data) -> list[Path]:
    """Return the folders where the data set may be, in order."""
    base = os.environ.get(VARIABLE)
    given = expanded(data.root or data.name)
    found = [given] if data.root else []
    if not given.is_absolute():
        found.append((expanded(base) if base else cache_folder()) / given)
    return found


def expanded(path: str) -> Path:
    """Return the path with its ``~``; that of a user who does not exist stays."""
    return Path(os.path.expanduser(path))


def cache_folder() -> Path:
    """Return the folder for downloads when neither data.root nor DYNVIT_DATA is set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynvit"


def spelled(folder: Path, name: str) -> Path:
    """Return the entry of a folder with a name, or else with that name in letters of another case."""
    if (folder / name).exists() or not folder.is_dir():
        return folder / name
    return next((folder / other for other in sorted(os.listdir(folder)) if other.casefold() == name.casefold()),
                folder / name)  # fmt: skip
