"""The same tar file twice in a split, under two names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dynvit.data.listing.cache import cached
from dynvit.data.listing.left_out import Remark
from dynvit.data.listing.names import listed, shown
from dynvit.data.listing.tar_members import TarMembers
from dynvit.data.source import Split

HEAD = 2**16
"""Bytes at the start of tar files of the same size that are compared before the rest."""


def doubled_archives(split: Split) -> Iterator[Remark]:
    """Yield a remark for tar files with the content of another one. Of those of one size the start is read, of those
    that start alike the rest."""
    if not isinstance(split.source, TarMembers):
        return
    used = {member.tar for member in split.source.members}  # of empty ones that is remarked
    groups = [[file for i, file in enumerate(split.source.files) if i in used]]
    for key in (os.path.getsize, _head, _whole):
        groups = [alike for some in groups for alike in _grouped(some, key)]
    if pairs := [f"{shown(other)} is {shown(some[0])}" for some in groups for other in some[1:]]:
        kind = "tar files with the content of another one"
        yield Remark(split.name, kind, len(pairs), f"{split.name}: {len(pairs)} {kind} ({listed(pairs)})", "attention")


def _grouped(files: Sequence[str], key: Callable[[str], Any]) -> Iterator[list[str]]:
    """Yield files that have a key in common, in their order."""
    groups: dict[Any, list[str]] = {}
    for file in files:
        groups.setdefault(key(file), []).append(file)
    yield from (some for some in groups.values() if len(some) > 1)


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.blake2b(file.read(HEAD), digest_size=16).digest()


def _whole(path: str) -> str:
    """Return a digest of a file, which the cache keeps: a set that is there twice is read once, not by every trial."""

    def digest(file: Path) -> dict[str, str]:
        with open(file, "rb") as opened:
            return {"digest": hashlib.file_digest(opened, "sha256").hexdigest(), "damage": ""}

    return str(cached(Path(path), "digest", digest)["digest"])
