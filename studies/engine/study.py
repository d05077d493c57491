"""A study after reading: what the file says, as the rest of the engine sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from studies.engine.taskfile import Task
from studies.engine.trial import Resources


@dataclass(frozen=True)
class Setting:
    """One dotted config key set to a value, and where that was written."""

    key: str
    value: Any
    where: tuple[str | int, ...]
    """The path in the study file; ``("--set", key)`` for the command line, ``("--smoke",)`` for the task's patch."""


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


@dataclass(frozen=True)
class Scale:
    """How large the study is run: what it lays over the study and over each part."""

    name: str
    patch: Patch = ()
    seeds: tuple[int, ...] | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Patch] = field(default_factory=dict)
    axes: Mapping[str, Mapping[str, Axis]] = field(default_factory=dict)
    """part -> axis -> the axis with this scale's levels."""


@dataclass(frozen=True)
class Metric:
    source: str | None = field(default=None, metadata={"key": "from"})
    """``best``, ``last``, an event key, or None: where the task's result has it."""
    direction: Literal["max", "min", "none"] = "none"
    unit: str = ""


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    file: Path
    text: str
    task: Task
    seeds: tuple[int, ...]
    parts: tuple[Part, ...]
    base: Patch = ()
    scales: Mapping[str, Scale] = field(default_factory=dict)
    default_scale: str = ""
    """Empty where the study has no scales."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)

    def at(self, scale: str) -> Sized:
        """The study at one scale: patches laid over each other in their order, levels replaced where the scale does."""
        over = self.scales.get(scale, Scale(""))
        parts = []
        for part in self.parts:
            base = (*self.base, *over.patch, *part.base, *over.parts.get(part.name, ()))
            parts.append(replace(part, base=base, axes={**part.axes, **over.axes.get(part.name, {})}))
        resources = Resources(**{**self.resources, **over.resources})
        return Sized(scale, tuple(parts), over.seeds or self.seeds, resources)


@dataclass(frozen=True)
class Sized:
    """A study's parts, seeds and resources at one scale; each part's base holds every patch below its axes."""

    scale: str
    parts: tuple[Part, ...]
    seeds: tuple[int, ...]
    resources: Resources
