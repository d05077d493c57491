"""The interface between a task and what runs it: logging, checkpoints and the request to stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol


@contextmanager
def permanent_errors() -> Iterator[None]:
    """Mark errors of what is built before a training: options, data or weights that do not fit never will, so that a
    trial is not tried again."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, FileNotFoundError) as error:
        error.__dict__["permanent"] = True
        raise


class Stopped(Exception):
    """Raised by a task after saving, because it was asked to stop; not a failure."""


class Context(Protocol):
    """What a task can use while it runs. Free of torch, so that any kind of task can use it."""

    seed: int
    device: str
    """``"cpu"`` or ``"cuda:0"``."""
    folder: Path
    rank: int
    """Of this process among those of the trial; only rank 0 logs and saves."""
    world: int
    """Number of processes. All call `should_stop`, `checkpoint_due`, `broadcast`, `log`, `save` in the same order, and
    get rank 0's answers."""
    address: str
    """Host of rank 0."""

    @property
    def should_stop(self) -> bool:
        """True once the task should save and raise ``Stopped`` at the next step boundary."""
        ...

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        """Record metrics of a step (an epoch for `classify`); steps: the planned total."""
        ...

    def checkpoint_due(self) -> bool:
        """Return whether a checkpoint should be written at this step boundary."""
        ...

    def save(self, write: Callable[[Path], None]) -> None:
        """Replace the checkpoint atomically: `write` fills a temporary file, which is then renamed."""
        ...

    def save_artifact(self, name: str, data: bytes) -> None:
        """Write a file to the trial's folder; called by rank 0 only."""
        ...

    def load(self) -> Path | None:
        """Return the last checkpoint's file, or None. A damaged one is moved away."""
        ...

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value (anything that JSON can hold) in every process."""
        ...

    def log_text(self, text: str) -> None:
        """Write one line to the trial's log."""
        ...


class NullContext:
    """A context for use outside the engine: keeps metrics in memory, saves nothing."""

    def __init__(self, seed: int = 0, device: str = "cpu", folder: Path | str = ".") -> None:
        self.seed, self.device, self.folder = seed, device, Path(folder)
        self.should_stop = False
        self.rank, self.world, self.address = 0, 1, ""
        self.history: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        self.history.append((step, dict(metrics)))

    def checkpoint_due(self) -> bool:
        return False

    def save(self, write: Callable[[Path], None]) -> None:
        return None

    def save_artifact(self, name: str, data: bytes) -> None:
        return None

    def load(self) -> Path | None:
        return None

    def broadcast(self, value: Any) -> Any:
        return value

    def log_text(self, text: str) -> None:
        return None
