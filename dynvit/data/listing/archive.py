"""What a tar file holds, read once from its headers and kept in the cache; damage is found, not passed over.

Images are later read by offset, so a compressed tar file is refused.
"""

from __future__ import annotations

import os
import posixpath
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from dynvit.data.listing.left_out import Kind, LeftOut
from dynvit.data.listing.names import member_path, shown

BLOCK = 512
NO_TAR = {
    b"\x1f\x8b": "compressed with gzip", b"BZh": "compressed with bzip2", b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd", b"PK\x03\x04": "a zip file",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself",
}  # fmt: skip
"""First bytes of files that are no plain tar file."""
MAX_HEADER = 2**20
"""Bytes of a header with a long name or with records."""
MAX_LINKS = 40
"""Links to links that are followed, as by Linux."""


class Stored(NamedTuple):
    """A file in a tar file: path below the archive's root, where its bytes are."""

    path: str
    offset: int
    size: int


@dataclass
class Archive:
    """The plain files of a tar file in the order of their first appearance."""

    files: list[Stored] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    """Folders that have an entry of their own."""
    left_out: LeftOut = field(default_factory=LeftOut)
    damage: str = ""
    """Why members may be missing; empty if the tar file is whole."""


def read_archive(path: Path) -> Archive:
    """Read all headers. Raises ValueError if a file is no plain tar file; OSError if it cannot be opened."""
    with open(path, "rb") as file:
        head = file.read(len(max(NO_TAR, key=len)))
        for magic, text in NO_TAR.items():
            if head.startswith(magic):
                raise ValueError(f"{path} is {text}: a plain tar file is needed, whose members are read by offset")
        return read_members(file, str(path), 0, os.fstat(file.fileno()).st_size)


def read_members(file: IO[bytes], name: str, start: int, size: int) -> Archive:
    """Read the headers of a tar file of `size` bytes that starts at `start` of an open file."""
    archive, links = Archive(), []
    plain: dict[str, Stored] = {}
    last = ""
    file.seek(start)
    try:
        opened = tarfile.TarFile(fileobj=_Part(file, start, size))  # type: ignore[arg-type]
    except Exception as error:  # tarfile raises whatever damaged headers lead to
        raise ValueError(f"{name} is no tar file, or damaged: {error}") from error
    try:
        for entry in opened:
            last = path = member_path(entry.name)
            if opened.offset < entry.offset_data:
                archive.damage = f"a size below zero is at {shown(path)}"
                break
            if entry.isdir():
                archive.folders += [path] if path else []
            elif not path:
                archive.left_out.add(Kind.SPECIAL, entry.name or "a file without a name")
            elif entry.islnk() or entry.issym():
                links.append((path, _target(entry)))
            elif not entry.isreg() or entry.sparse is not None:
                archive.left_out.add(Kind.SPECIAL, path)
            elif not 0 <= entry.size <= size - entry.offset_data:
                archive.damage = f"it ends within {shown(path)}"
                break
            else:
                if path in plain:
                    archive.left_out.add(Kind.REPLACED, path)
                plain[path] = Stored(path, start + entry.offset_data, entry.size)
        archive.damage = archive.damage or _damaged_end(file, start, opened.offset, size, last)
    except Exception as error:
        archive.damage = f"{error or type(error).__name__} after {shown(last)}"
    _follow(links, plain, archive.left_out)
    archive.files = list(plain.values())
    if archive.damage and not archive.files:
        raise ValueError(f"{name} is damaged: {archive.damage}")
    return archive


class _Part:
    """Some bytes of an open file as a file of their own."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self.file, self.start, self.size, self.position = file, start, size, 0

    def seek(self, position: int) -> int:
        self.position = position
        return position

    def tell(self) -> int:
        return self.position

    def read(self, count: int) -> bytes:
        if count > MAX_HEADER:
            raise ValueError(f"a header of {count} bytes")
        self.file.seek(self.start + self.position)
        content = self.file.read(max(0, min(count, self.size - self.position)))
        self.position += len(content)
        if count > BLOCK and sum(len(run) ** 2 for run in re.findall(rb"\d+", content)) > 10**8:
            raise ValueError("a header of too many digits")  # the time that tarfile's search takes there
        return content


def _damaged_end(file: IO[bytes], start: int, offset: int, size: int, last: str) -> str:
    """Return what is wrong where the headers end: tarfile takes any end, and a damaged header, for the end."""
    after = f"after {shown(last)}" if last else "at its start"
    file.seek(start + offset)
    rest = size - offset
    if rest < BLOCK:
        return f"it is cut off {after}"
    if any(file.read(BLOCK)):
        return f"a header is damaged {after}"
    rest -= BLOCK
    while rest > 0:
        if any(block := file.read(min(rest, 1 << 20))):
            return f"it goes on behind its end {after}: tar files put together with cat?"
        rest -= len(block) or rest
    return ""


def _target(entry: tarfile.TarInfo) -> str:
    """Return the path that a link names: below the archive's root, or below the link's folder."""
    beside = posixpath.dirname(entry.name) if entry.issym() else ""
    return member_path(posixpath.join(beside, entry.linkname))


def _follow(links: list[tuple[str, str]], plain: dict[str, Stored], left_out: LeftOut) -> None:
    """Give links the bytes of the file that they lead to."""
    targets = dict(links)
    for path, target in links:
        for _ in range(MAX_LINKS):
            if target in plain or target not in targets:
                break
            target = targets[target]
        if target in plain:
            plain.setdefault(path, plain[target]._replace(path=path))
        else:
            left_out.add(Kind.SPECIAL, path)
