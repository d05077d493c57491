"""Errors of a table file or a frame: all at once, each with file, line, column and key path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Fault:
    """One line of an error message: ``file:line:column  key.path: what is wrong, what would be right``."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}  {self.key}: {self.message}" if self.key else f"{where}  {self.message}"


class TableError(ValueError):
    """Raised for an invalid table file or frame."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults))
        count = f"\n{len(self.faults)} errors" if len(self.faults) > 1 else ""
        super().__init__("\n".join(map(str, self.faults)) + count)


def file_error(file: Path, message: str) -> TableError:
    """Return an error about a whole file."""
    return TableError([Fault(str(file), 0, 0, "", message)])


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "…"?`` if a known name is close, else the list of known names."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f', did you mean "{close[0]}"?'
    return f"; known: {', '.join(names)}" if names else ""
