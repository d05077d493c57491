"""Images inside tar files, read by offset: no shared file position, no required order."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dynvit.data.listing.names import shown


class Member(NamedTuple):
    """One file in an uncompressed tar file."""

    tar: int
    """Index of the tar file."""
    offset: int
    size: int
    name: str


@dataclass(frozen=True)
class TarMembers:
    """Members of several tar files. Forked processes share an open file's position, which `pread` does not use."""

    files: tuple[str, ...]
    members: tuple[Member, ...]
    _open: dict[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.members)

    def read(self, index: int) -> bytes:
        member = self.members[index]
        key = (os.getpid(), member.tar)
        if key not in self._open:
            self._open[key] = os.open(self.files[member.tar], os.O_RDONLY)
        content = os.pread(self._open[key], member.size, member.offset)
        if len(content) < member.size:
            raise OSError(f"{self.files[member.tar]} ends within {shown(member.name)}")
        return content

    def name(self, index: int) -> str:
        member = self.members[index]
        return shown(f"{self.files[member.tar]}:{member.name}")

    def size(self, index: int) -> int:
        return self.members[index].size

    @property
    def inodes(self) -> NDArray[np.uint64]:
        return np.asarray([os.stat(file).st_ino for file in self.files], np.uint64)
