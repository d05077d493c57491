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
    """Values of `key`, or labels with a value or with settings each."""
    baseline: Any
    """A level: its label, or the value itself."""
    key: str | None = None
    """The config key that the values are for, such as model.depth."""
    only: dict[str, Labels] = field(default_factory=dict)
    """The axis acts only where these axes are at these levels."""
    label: str = ""
    """Its name in tables."""


@dataclass(frozen=True)
class LevelsSpec:
    """What a scale may replace of an axis."""

    values: list[Any] | Settings
    """Instead of the axis's own values."""
    baseline: Any = None
    """Instead of the axis's own baseline."""


@dataclass(frozen=True)
class BlockSpec:
    """Exactly one of the three; the parser sees to that, so that the other blocks are still checked."""

    one_at_a_time: list[str] | None = None
    """The baseline, and each level of these axes with all others at the baseline."""
    grid: list[str] | dict[str, Labels] | None = None
    """Every combination of these axes, or of the levels that are named."""
    arms: list[dict[str, Scalar]] | None = None
    """Single arms: levels by axis; axes that are not named are at the baseline."""


@dataclass(frozen=True)
class PartSpec:
    base: Settings = field(default_factory=dict)
    """Settings of all arms: what differs from the task's defaults (`studies options classify`)."""
    axes: dict[str, AxisSpec] = field(default_factory=dict)
    """What is varied, by name."""
    design: list[BlockSpec] | None = None
    """Which combinations of levels are run. Not given: every axis one at a time."""
    exclude: list[dict[str, Labels]] = field(default_factory=list)
    """Combinations of levels that are left out."""


@dataclass(frozen=True)
class ScalePartSpec:
    """Besides these, a scale's entry for a part holds settings."""

    axes: dict[str, LevelsSpec] = field(default_factory=dict)
    """Other levels of the part's axes."""
    design: list[BlockSpec] | None = None
    """Instead of the part's own."""
    skip: bool = False
    """No arm of the part is run at this scale."""


@dataclass(frozen=True)
class ScaleSpec:
    """Besides these, a scale holds settings."""

    seeds: list[int] | None = None
    """Instead of the study's own."""
    decide: Settings = field(default_factory=dict)
    """Replaces single keys of the study's `decide`."""
    resources: Settings = field(default_factory=dict)
    """Replaces single keys of the study's `resources`."""
    parts: dict[str, Settings] = field(default_factory=dict)
    """Settings, axes, design or `skip: true` by part."""
    axes: dict[str, LevelsSpec] = field(default_factory=dict)
    """In a study without parts."""


@dataclass(frozen=True)
class StudyFile(PartSpec):
    """The file. A study without `parts` is one part and holds that part's keys itself."""

    study: str = ""
    """The name: that of the file."""
    title: str = ""
    """One line, for lists and reports."""
    task: str = ""
    """What a trial does: classify, cost, redundancy, or a .py file beside the study."""
    imports: list[str] = field(default_factory=list)
    """Own code: Python files relative to this file, or modules."""
    seeds: list[int] = field(default_factory=list)
    """One trial of every arm per seed."""
    decide: Settings = field(default_factory=dict)
    """For `run --until decided`: looks (numbers of seeds), error, max_hours."""
    scales: dict[str, Settings] = field(default_factory=dict)
    """Sizes of the study by name: settings, seeds, resources, parts, axes."""
    default_scale: str = ""
    """The scale of a run without --scale."""
    tables: str = ""
    """Its table file, relative to this one; not given: STUDY.tables.yaml beside it, or paper_tables/STUDY.yaml."""
    parts: dict[str, PartSpec] = field(default_factory=dict)
    """Experiments of their own, each with a base, axes and a design; a study without them is one part."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    """What the tables show; not given: what the task measures."""
    resources: Settings = field(default_factory=dict)
    """Of one trial: gpus (0.25: four trials share one), cpus, memory_gb, minutes, nodes, retries, launcher."""


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
