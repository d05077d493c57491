"""Images inside tar files, read by their place: no position that processes could share, no order to be kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


class Member(NamedTuple):
    """One file in an uncompressed tar file."""

    tar: int
    """Which of the tar files."""
    offset: int
    size: int
    name: str


@dataclass(frozen=True)
class Members:
    """Workers that are forked share an open file's position; `pread` has none."""

    tars: tuple[Path, ...]
    members: tuple[Member, ...]
    _open: dict[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.members)

    def read(self, index: int) -> bytes:
        member = self.members[index]
        key = (os.getpid(), member.tar)
        if key not in self._open:
            self._open[key] = os.open(self.tars[member.tar], os.O_RDONLY)
        found = os.pread(self._open[key], member.size, member.offset)
        if len(found) < member.size:
            raise OSError(f"{self.tars[member.tar]} ends within {member.name}")
        return found

    def name(self, index: int) -> str:
        member = self.members[index]
        return f"{self.tars[member.tar]}:{member.name}"
