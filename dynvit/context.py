"""What a task sees of whoever runs it: a place to log, to save, and a word when to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Stopped(Exception):
    """Raised by a task after it has saved, because it was asked to stop; not a failure."""


class Context(Protocol):
    """The runner's side of a trial. Torch-free, so that a task of any kind can use it."""

    seed: int
    device: str
    """``"cpu"`` or ``"cuda:0"``."""
    folder: Path
    rank: int
    """Of the processes that train this trial together, which one this is; 0 alone logs and saves."""
    world: int
    """How many they are. All call `stopping`, `due`, `share`, `log`, `save` in one order, and get rank 0's answers."""
    address: str
    """Where the others reach rank 0."""

    @property
    def stopping(self) -> bool:
        """True once the runner wants the task to save and raise ``Stopped`` at the next step boundary."""
        ...

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        """Record metrics of a step (an epoch for `classify`); steps is the planned total."""
        ...

    def due(self) -> bool:
        """True when a checkpoint should be written at this step boundary."""
        ...

    def save(self, write: Callable[[Path], None]) -> None:
        """Replace the checkpoint atomically: `write` fills a temporary file, the runner renames it."""
        ...

    def keep(self, name: str, data: bytes) -> None:
        """Leave a file beside the result; rank 0 alone calls it."""
        ...

    def load(self) -> Path | None:
        """The last checkpoint's file, or None. A damaged one is set aside and None returned."""
        ...

    def share(self, value: Any) -> Any:
        """Rank 0's value (anything JSON can hold) in every process."""
        ...

    def say(self, text: str) -> None:
        """One line into the trial's log."""
        ...


class Silent:
    """A context for use outside the engine: logs nowhere, saves nothing."""

    def __init__(self, seed: int = 0, device: str = "cpu", folder: Path | str = ".") -> None:
        self.seed, self.device, self.folder = seed, device, Path(folder)
        self.stopping = False
        self.rank, self.world, self.address = 0, 1, ""
        self.history: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        self.history.append((step, dict(metrics)))

    def due(self) -> bool:
        return False

    def save(self, write: Callable[[Path], None]) -> None:
        return None

    def keep(self, name: str, data: bytes) -> None:
        return None

    def load(self) -> Path | None:
        return None

    def share(self, value: Any) -> Any:
        return value

    def say(self, text: str) -> None:
        return None
