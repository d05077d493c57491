"""The language of study files, as types: every key a file may hold, with what it may be. `conform` does the checking.

Not in the language, on purpose: expressions, includes, inheritance, random search.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studies.engine.core.trial import Resources
from studies.engine.core.typing_check import Issue, validate
from studies.engine.study.model import Metric

Scalar = bool | int | float | str | None
Labels = Scalar | list[Scalar]
"""One level of an axis, or several."""
Settings = dict[str, Any]
"""Config keys, dotted or nested, and their values."""


@dataclass(frozen=True)
class AxisText:
    """Either `key` and a list of values for it (or a mapping label -> value), or a mapping label -> settings."""

    values: list[Any] | Settings
    baseline: Any
    """A level: its label, or the value itself."""
    key: str | None = None
    only: dict[str, Labels] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class LevelsText:
    """What a scale may replace of an axis."""

    values: list[Any] | Settings
    baseline: Any = None


@dataclass(frozen=True)
class BlockText:
    """Exactly one of the three; the reader sees to that, so that the other blocks are still looked at."""

    one_at_a_time: list[str] | None = None
    grid: list[str] | dict[str, Labels] | None = None
    arms: list[dict[str, Scalar]] | None = None


@dataclass(frozen=True)
class PartText:
    base: Settings = field(default_factory=dict)
    axes: dict[str, AxisText] = field(default_factory=dict)
    design: list[BlockText] | None = None
    """Not given: every axis one at a time."""
    exclude: list[dict[str, Labels]] = field(default_factory=list)


@dataclass(frozen=True)
class ScalePartText:
    """Besides these, a scale's entry for a part holds settings."""

    axes: dict[str, LevelsText] = field(default_factory=dict)


@dataclass(frozen=True)
class ScaleText:
    """Besides these, a scale holds settings."""

    seeds: list[int] | None = None
    resources: Settings = field(default_factory=dict)
    parts: dict[str, Settings] = field(default_factory=dict)
    axes: dict[str, LevelsText] = field(default_factory=dict)
    """In a study without parts."""


@dataclass(frozen=True)
class StudyText(PartText):
    """The file. A study without `parts` is one part and holds that part's keys itself."""

    study: str = ""
    title: str = ""
    task: str = ""
    seeds: list[int] = field(default_factory=list)
    scales: dict[str, Settings] = field(default_factory=dict)
    default_scale: str = ""
    parts: dict[str, PartText] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    resources: Settings = field(default_factory=dict)


def fit(kind: Any, value: Any, found: list[Issue], path: tuple[str | int, ...] = ()) -> Any:
    """`conform`, and where something does not fit, the rest of it: so that one mistake does not hide the others."""
    misfits: list[Issue] = []
    fitted = validate(kind, value, misfits, path)
    found.extend(misfits)
    while misfits:
        before = value
        for misfit in misfits:
            value = _without(value, misfit.path[len(path) :])
        if value == before or value is None:
            return None
        misfits = []
        fitted = validate(kind, value, misfits, path)
    return fitted


def resources(settings: Mapping[str, Any], found: list[Issue], path: tuple[str | int, ...]) -> dict[str, Any]:
    """The resources that were given, brought to their types."""
    fitted = fit(Resources, settings, found, path) or Resources()
    return {key: getattr(fitted, key) for key in settings if hasattr(fitted, key)}


def _without(value: Any, path: tuple[str | int, ...]) -> Any:
    """The value less what stands at the path; a list that would lose an entry goes whole: places keep their number."""
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
