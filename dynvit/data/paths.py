"""Where a data set's files are: `data.root`, or under the folder that DYNVIT_DATA names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data

VARIABLE = "DYNVIT_DATA"


def find_root(data: Data, must_exist: bool = True) -> Path:
    """The folder of the data set. FileNotFoundError says which places were tried."""
    base = os.environ.get(VARIABLE)
    if must_exist and not data.root and not base:
        raise FileNotFoundError(
            f"where is {data.name}? Set data.root, or {VARIABLE} to a folder with {data.name}/ in it"
        )
    tried = places(data)
    for place in tried:
        if place.is_dir():
            return place.resolve()
    if must_exist:
        names = " or ".join(str(place.absolute()) for place in tried)
        hint = "" if base or tried[0].is_absolute() else f" ({VARIABLE} is not set)"
        raise FileNotFoundError(f"no folder {names} for the data set {data.name}{hint}")
    return tried[-1].absolute()


def places(data: Data) -> list[Path]:
    """Return the folders where the data set may be, in order."""
    base = os.environ.get(VARIABLE)
    given = Path(data.root or data.name).expanduser()
    found = [given] if data.root else []
    if not given.is_absolute():
        found.append((Path(base).expanduser() if base else cache()) / given)
    return found


def cache() -> Path:
    """Where downloads go when the user names no place."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynvit"
