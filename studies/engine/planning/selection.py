"""The study and the part of it that a command line selects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.engine.storage.results_dir import Store


@dataclass(frozen=True)
class Selection:
    """The options as they were typed."""

    study: str
    results: Path = Path("results")
    scale: str | None = None
    overrides: tuple[str, ...] = ()
    smoke: bool = False
    only: tuple[str, ...] = ()
    seeds: str | None = None

    @property
    def store(self) -> Store:
        return Store(self.results)
