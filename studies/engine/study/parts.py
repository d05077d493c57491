"""The elements of a study: settings, levels, axes, blocks of a design, and parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, eq=False)
class Setting:
    """One dotted config key set to a value, with the place where that was written."""

    key: str
    value: Any
    path: KeyPath
    """The value's path in the study file; begins with ``--set`` or ``--smoke`` where it comes from there."""
    key_path: KeyPath | None = None
    """The path of the key, where it is not written next to the value (an axis's `key:`)."""


Patch = tuple[Setting, ...]
"""Settings in order: of two for the same key the later one counts."""


@dataclass(frozen=True)
class Level:
    label: str
    patch: Patch
    value: Any = None
    """What the file has where the level is one value of the axis's key."""


@dataclass(frozen=True)
class Axis:
    name: str
    levels: tuple[Level, ...]
    baseline: str
    label: str = ""
    """The name in tables; `name` if empty."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The axis acts only where these axes are at these levels; elsewhere it is inert."""

    def level(self, label: str) -> Level:
        return next(level for level in self.levels if level.label == label)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(level.label for level in self.levels)


Coordinates = Mapping[str, tuple[str, ...]]
"""Axis -> level labels."""


@dataclass(frozen=True)
class Block:
    """One block of a design. one_at_a_time and grid: `axes` with their levels. arms: explicit coordinates."""

    kind: Literal["one_at_a_time", "grid", "arms"]
    axes: Coordinates = field(default_factory=dict)
    arms: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Part:
    name: str
    base: Patch = ()
    axes: Mapping[str, Axis] = field(default_factory=dict)
    design: tuple[Block, ...] = ()
    exclude: tuple[Coordinates, ...] = ()
    valid: bool = True
    """False where axes or design have problems: then what could be read is there to be checked, not to be run."""
    skipped: bool = False
    """Whether it has no arms at this scale."""
    place: KeyPath = ()
    """Where its design is written."""


@dataclass(frozen=True)
class Metric:
    source: str | None = field(default=None, metadata={"key": "from"})
    """``best``, ``last``, an event key, or None: where the task's result has it."""
    direction: Literal["max", "min", "none"] = "none"
    unit: str = ""
