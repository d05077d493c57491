"""The grammar of study files, as types: every key a file may hold, and what it may be.

Not in the language, on purpose: expressions, includes, inheritance, random search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studies.engine.core.trial import Resources
from studies.engine.core.typing_check import Issue, Path, validate
from studies.engine.study.parts import Metric

Scalar = bool | int | float | str | None
Labels = Scalar | list[Scalar]
"""One level of an axis, or several."""
Settings = dict[str, Any]
"""Config keys, dotted or nested, and their values."""


@dataclass(frozen=True)
class AxisSpec:
    """Either `key` and a list of values for it (or a mapping label -> value), or a mapping label -> settings."""

    values: list[Any] | Settings
    baseline: Any
    """A level: its label, or the value itself."""
    key: str | None = None
    only: dict[str, Labels] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class LevelsSpec:
    """What a scale may replace of an axis."""

    values: list[Any] | Settings
    baseline: Any = None


@dataclass(frozen=True)
class BlockSpec:
    """Exactly one of the three; the parser sees to that, so that the other blocks are still checked."""

    one_at_a_time: list[str] | None = None
    grid: list[str] | dict[str, Labels] | None = None
    arms: list[dict[str, Scalar]] | None = None


@dataclass(frozen=True)
class PartSpec:
    base: Settings = field(default_factory=dict)
    axes: dict[str, AxisSpec] = field(default_factory=dict)
    design: list[BlockSpec] | None = None
    """Not given: every axis one at a time."""
    exclude: list[dict[str, Labels]] = field(default_factory=list)


@dataclass(frozen=True)
class ScalePartSpec:
    """Besides these, a scale's entry for a part holds settings."""

    axes: dict[str, LevelsSpec] = field(default_factory=dict)
    design: list[BlockSpec] | None = None
    """Instead of the part's own."""
    skip: bool = False
    """No arm of the part is run at this scale."""


@dataclass(frozen=True)
class ScaleSpec:
    """Besides these, a scale holds settings."""

    seeds: list[int] | None = None
    decide: Settings = field(default_factory=dict)
    resources: Settings = field(default_factory=dict)
    parts: dict[str, Settings] = field(default_factory=dict)
    axes: dict[str, LevelsSpec] = field(default_factory=dict)
    """In a study without parts."""


@dataclass(frozen=True)
class StudyFile(PartSpec):
    """The file. A study without `parts` is one part and holds that part's keys itself."""

    study: str = ""
    title: str = ""
    task: str = ""
    seeds: list[int] = field(default_factory=list)
    decide: Settings = field(default_factory=dict)
    scales: dict[str, Settings] = field(default_factory=dict)
    default_scale: str = ""
    parts: dict[str, PartSpec] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    resources: Settings = field(default_factory=dict)


def coerce(kind: Any, value: Any, issues: list[Issue], path: Path = ()) -> Any:
    """Validate, and leave out what does not fit, so that one mistake does not hide the others; None if nothing fits."""
    found: list[Issue] = []
    fitted = validate(kind, value, found, path)
    issues.extend(found)
    while found:
        before = value
        for issue in found:
            value = _without(value, issue.path[len(path) :])
        if value == before or value is None:
            return None
        found = []
        fitted = validate(kind, value, found, path)
    return fitted


def resources(settings: Mapping[str, Any], issues: list[Issue], path: Path) -> dict[str, Any]:
    """Return the given resources, as values of their types."""
    fitted = coerce(Resources, settings, issues, path) or Resources()
    return {key: getattr(fitted, key) for key in settings if hasattr(fitted, key)}


def _without(value: Any, path: Path) -> Any:
    """Remove what is at a path; a list that would lose an entry goes whole, as places keep their numbers."""
    if not path or not isinstance(value, dict | list):
        return None
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        assert isinstance(step, int)
        kept = _without(value[step], rest)
        return None if kept is None else [*value[:step], kept, *value[step + 1 :]]
    if step not in value:
        return value
    kept = _without(value[step], rest)
    return {key: (kept if key == step else item) for key, item in value.items() if key != step or kept is not None}
