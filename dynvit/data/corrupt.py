"""Images that cannot be decoded: skipped and counted up to `data.max_corrupt`, an error beyond it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MAX_NAMES = 5


class CorruptImages:
    """The unreadable images met so far: name and reason."""

    def __init__(self, limit: int = 0, damaged: Mapping[str, str] | None = None) -> None:
        """damaged: tar files of which a part cannot be read, with the reason; each counts as one image."""
        self.limit = limit
        self.found: dict[str, str] = {}
        self._merged = 0
        self.add((f"the rest of {tar}", reason) for tar, reason in (damaged or {}).items())

    def add(self, found: Iterable[tuple[str, str]]) -> None:
        """Record images. Raises ValueError with the first names if there are more than the limit."""
        self.found |= dict(found)
        if len(self.found) <= self.limit:
            return
        lines = [f"{name} cannot be read as an image: {reason}" for name, reason in self.found.items()]
        if len(lines) == 1:
            raise ValueError(f"{lines[0]}; to skip such images, set data.max_corrupt to their number")
        more = f" and {len(lines) - MAX_NAMES} more" if len(lines) > MAX_NAMES else ""
        raise ValueError(f"{len(lines)} images, data.max_corrupt is {self.limit}: {'; '.join(lines[:MAX_NAMES])}{more}")

    def merge(self, found: Iterable[dict[str, str]]) -> list[tuple[str, str]]:
        """Replace the images by those of all processes; return those added since the last call."""
        every = {name: reason for each in found for name, reason in each.items()}
        new, self._merged = list(every.items())[self._merged :], len(every)
        self.found = {}
        self.add(every.items())
        return new

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: an epoch that is over does not meet its images again."""
        return {"found": dict(self.found), "merged": self._merged}

    def load(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Go on from the states of all processes. Raises ValueError for more images than the limit."""
        for state in states:
            self._merged = state["merged"]  # equal in all
            self.add(state["found"].items())
