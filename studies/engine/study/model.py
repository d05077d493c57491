"""A study after reading: what the file says, as the rest of the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from studies.engine.catalog.tasks import Task
from studies.engine.core.trial import Resources


@dataclass(frozen=True)
class Setting:
    """One dotted config key set to a value, and where that was written."""

    key: str
    value: Any
    where: tuple[str | int, ...]
    """The value's path in the study file; beginning with ``--set`` or ``--smoke`` where it comes from there."""
    named: tuple[str | int, ...] | None = None
    """Where the key is written, if that is not beside the value (an axis's `key:`)."""


Patch = tuple[Setting, ...]


@dataclass(frozen=True)
class Level:
    label: str
    patch: Patch
    value: Any = None
    """What the file says where the level is one value of the axis's key."""


@dataclass(frozen=True)
class Axis:
    name: str
    levels: tuple[Level, ...]
    baseline: str
    label: str = ""
    """How tables call it; the name if empty."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The axis acts only where those axes sit at those levels; elsewhere it is inert."""

    def level(self, label: str) -> Level:
        return next(level for level in self.levels if level.label == label)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(level.label for level in self.levels)


Coordinates = Mapping[str, tuple[str, ...]]
"""Axis -> level labels."""


@dataclass(frozen=True)
class Block:
    """one_at_a_time and grid: `axes` with the levels they take. arms: explicit coordinates."""

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
    whole: bool = True
    """False where axes or design could not be read: then what could be read is there to be checked, not to be run."""


@dataclass(frozen=True)
class Metric:
    source: str | None = field(default=None, metadata={"key": "from"})
    """``best``, ``last``, an event key, or None: where the task's result has it."""
    direction: Literal["max", "min", "none"] = "none"
    unit: str = ""


@dataclass(frozen=True)
class Sized:
    """A study's parts, seeds and resources at one scale; each part's base holds every patch below its axes."""

    scale: str
    parts: tuple[Part, ...]
    seeds: tuple[int, ...]
    resources: Resources


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    file: Path
    text: str
    task: Task
    sizes: Mapping[str, Sized]
    """By scale; under the empty name where the study has no scales."""
    default_scale: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def at(self, scale: str) -> Sized:
        return self.sizes[scale]

    @property
    def scales(self) -> tuple[str, ...]:
        return tuple(scale for scale in self.sizes if scale)
