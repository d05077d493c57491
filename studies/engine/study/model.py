"""A study, as the rest of the engine uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from studies.engine.catalog.tasks import Task
from studies.engine.core.trial import Resources
from studies.engine.study.arms import Override, ResolvedArm, resolve_arms
from studies.engine.study.decide import Decide
from studies.engine.study.parts import Metric, Part
from studies.engine.study.resolver import Resolver


@dataclass(frozen=True)
class ScaledStudy:
    """A study's parts, seeds and resources at one scale; each part's base holds every patch below its axes."""

    scale: str
    parts: tuple[Part, ...]
    seeds: tuple[int, ...]
    resources: Resources
    decide: Decide | None = None
    """At which numbers of seeds claims are judged; None: the seeds are fixed."""


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    file: Path
    text: str
    task: Task
    scaled: Mapping[str, ScaledStudy]
    """By scale; under the empty name where the study has no scales."""
    others: Callable[[str], Study]
    """Loads the study of a name, this one's neighbors first. StudyError where that cannot be done."""
    default_scale: str = ""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    tables: Path | None = None
    """The table file that it names."""

    def at(self, scale: str) -> ScaledStudy:
        return self.scaled[scale]

    @property
    def scales(self) -> tuple[str, ...]:
        return tuple(scale for scale in self.scaled if scale)

    def arms(self, scale: str, overrides: Sequence[Override] = (), smoke: bool = False) -> tuple[ResolvedArm, ...]:
        """Return every arm of the valid parts; those of the file alone are resolved once."""
        if overrides or smoke:
            return resolve_arms(self.at(scale).parts, self.resolver, overrides, smoke)
        if scale not in self._arms:
            self._arms[scale] = resolve_arms(self.at(scale).parts, self.resolver)
        return self._arms[scale]

    @cached_property
    def resolver(self) -> Resolver:
        return Resolver(self.task)

    @cached_property
    def _arms(self) -> dict[str, tuple[ResolvedArm, ...]]:
        return {}
