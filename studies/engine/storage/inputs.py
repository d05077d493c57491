"""Files that a trial reads: weights known by their SHA-256, image folders by names, sizes and dates."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.files import open_regular

MOST_SIZES = 200_000
"""Files of a folder: with more, sizes and dates are not looked at, which takes minutes on a network drive."""


MOST_BYTES = 4 << 30
"""Of a file: a larger one, such as a data set in one archive, is known by size and date; reading it takes minutes."""


def describe(path: Path) -> dict[str, Any] | None:
    """Return what a file or folder holds; None where it is not there or cannot be read."""
    try:
        return _folder(path) if path.is_dir() else _file(path) if path.is_file() else None
    except OSError:
        return None


def difference(before: Mapping[str, Any], now: Mapping[str, Any] | None) -> str:
    """Return how what `describe` returns has changed, in words; empty where it has not."""
    if now is None:
        return "is not there any more"
    if "sha256" in before or "sha256" in now:
        return "has other content" if before.get("sha256") != now.get("sha256") else ""
    if before.get("files") != now.get("files"):
        return f"has {now.get('files')} files, {before.get('files')} then"
    if (before.get("listing"), before.get("bytes")) != (now.get("listing"), now.get("bytes")):
        return "has files of other names or sizes" if "files" in before else "has another size"
    if before.get("path") == now.get("path") and before.get("newest", 0) < now.get("newest", 0):
        return "has files that were written since" if "files" in before else "was written since"
    return ""


def _file(path: Path) -> dict[str, Any]:
    status = path.stat()
    if status.st_size > MOST_BYTES:
        return {"path": str(path), "bytes": status.st_size, "newest": status.st_mtime_ns // 10**9}
    with open_regular(path) as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return {"path": str(path), "sha256": digest, "bytes": status.st_size}


def _folder(path: Path) -> dict[str, Any]:
    names = list(_names(str(path), ""))
    listing, total, newest = hashlib.sha256(), 0, 0
    for name in names:
        size = 0
        if len(names) <= MOST_SIZES:
            status = _status(path / name)
            size, newest = status.st_size, max(newest, status.st_mtime_ns // 10**9)
        total += size
        listing.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
    return {
        "path": str(path), "files": len(names), "bytes": total, "listing": listing.hexdigest()[:16], "newest": newest
    }  # fmt: skip


def _status(file: Path) -> os.stat_result:
    """Return the status of a file, or of a link that leads nowhere."""
    try:
        return os.stat(file)
    except OSError:
        return os.lstat(file)


def _names(folder: str, prefix: str, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Yield the files below a folder by their relative paths, sorted; hidden ones are no images.

    A link to nothing or to a folder above, and a folder that may not be read, is one name. above: device and inode.
    """
    here = os.stat(folder)
    above |= {(here.st_dev, here.st_ino)}
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if entry.name[0] != "."), key=lambda entry: entry.name)
    except PermissionError:
        if not prefix:
            raise
        yield prefix
        return
    for entry in entries:
        if _leads_down(entry, above):
            yield from _names(entry.path, f"{prefix}{entry.name}/", above)
        else:
            yield f"{prefix}{entry.name}"


def _leads_down(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        status = entry.stat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in above
