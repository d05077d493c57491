"""What was found in files, kept as JSON for as long as they stay the same."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dynvit.data.paths import cache_folder


def cached(path: Path, kind: str, build: Callable[[Path], Any]) -> Any:
    """Return what `build` makes of a file, as JSON holds it, from the cache if the file is still the same.

    It has an entry ``damage``; what is damaged is not kept, as the disk may have been at fault.
    """
    return kept(kind, (str(path.resolve()), *_state(path)), lambda: build(path))


def cached_of_all(paths: Iterable[str], kind: str, more: str, build: Callable[[], Any]) -> Any:
    """Do so for what depends on many files together. more: what else it depends on."""
    digest = hashlib.sha256(more.encode(errors="surrogateescape"))
    try:
        for path in paths:
            digest.update(repr((os.path.abspath(path), *_state(path))).encode())
    except OSError:  # gone since it was listed
        return build()
    return kept(kind, digest.hexdigest(), build)


def kept(kind: str, same: object, build: Callable[[], Any]) -> Any:
    """Return what is kept under `same`, else what `build` makes, which is kept without an entry ``damage``."""
    file = cache_folder() / "archives" / f"{hashlib.sha256(repr((kind, same)).encode()).hexdigest()[:24]}.json"
    try:
        if isinstance(found := json.loads(file.read_text()), dict) and "damage" in found:
            return found
    except (OSError, ValueError):
        pass
    found = build()
    if found["damage"]:
        return found
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(found))
        os.replace(temporary, file)
    except OSError:  # a read-only home: read again next time
        pass
    return found


def _state(path: str | Path) -> tuple[int, ...]:
    """Return what changes with a file."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
