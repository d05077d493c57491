"""What is wrong with a study file or a command line, said in one form: `file:line:column  key.path: what`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Problem:
    where: str
    """The file, or the option of the command line."""
    text: str
    key: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}:{self.column}  " if self.line else f"{self.where}  "
        return f"{place}{self.key}: {self.text}" if self.key else f"{place}{self.text}"


class StudyError(Exception):
    """Every problem at once; nothing has been launched."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = in_order(problems)
        super().__init__(str(self))

    def __str__(self) -> str:
        count = len(self.problems)
        return "\n".join([*map(str, self.problems), "1 error" if count == 1 else f"{count} errors"])

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the text alone, as it is about what the user wrote."""
        return [str(self)]


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each once, the file's by position, the command line's after them as they came."""
    once = dict.fromkeys(problems)
    return tuple(sorted(once, key=lambda p: (p.line == 0, p.line, p.column)))


def shown(path: Path) -> str:
    """Relative to the current folder where it lies inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def dotted(path: Iterable[str | int]) -> str:
    """``parts.sret.design[1].grid``"""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
