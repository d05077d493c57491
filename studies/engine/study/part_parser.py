"""From a study file's text to parts, axes and blocks. Names are resolved here, and unknown ones reported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from studies.engine.core.errors import Problem
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.typing_check import Issue, to_yaml
from studies.engine.core.yaml_loader import Document
from studies.engine.study import design, schema, settings
from studies.engine.study.parts import Axis, Block, KeyPath, Level, Part, Patch, Setting
from studies.engine.study.scales import PartOverride
from studies.engine.study.schema import BlockSpec, PartSpec
from studies.engine.study.settings import find_label, label_of, patch, setting

Axes = Mapping[str, Axis]


class PartParser:
    """Collects problems while it parses; what it returns leaves out what was wrong."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.problems)
        self.broken: Set[str] = frozenset()
        """Axes of the current part that could not be parsed: to name them is no second mistake."""

    def report(self, path: KeyPath, text: str, at_key: bool = False) -> None:
        self.problems.append(self.document.problem(path, text, at_key))

    def report_issues(self, issues: Iterable[Issue]) -> None:
        for issue in issues:
            self.report(issue.path, issue.text, issue.at_key)

    def coerce(self, kind: Any, value: Any, path: KeyPath) -> Any:
        issues: list[Issue] = []
        found = schema.coerce(kind, value, issues, path)
        self.report_issues(issues)
        return found

    def each_once(self, patch: Patch) -> Patch:
        """Return the settings of one mapping; report a key that it has twice, dotted and nested."""
        first: dict[str, Setting] = {}
        for one in patch:
            if (other := first.setdefault(one.key, one)) is not one:
                line = self.document.keys[other.path].line
                self.report(one.path, f"{one.key} twice, first in line {line}", at_key=True)
        return patch

    def check_name(self, name: str, path: KeyPath) -> None:
        if len(name) > settings.LONGEST_NAME:
            self.report(path, f"a name of {len(name)} letters, at most {settings.LONGEST_NAME}", at_key=True)
        elif not settings.NAME.fullmatch(name):
            self.report(path, f"{to_yaml(name)} is no name: letters A to Z, digits, _ - . only", at_key=True)

    # ---- a part

    def part(self, name: str, spec: PartSpec, path: KeyPath, override: PartOverride) -> Part:
        """Return the part at one scale, its base left empty; not valid where its axes or design are wrong."""
        before = len(self.problems)
        if not self._within(len(spec.axes), "axes", design.MOST_AXES, (*path, "axes")):
            return Part(name, valid=False)
        axes = self._axes(spec, path, override)
        self.broken = self.raw(*path, "axes").keys() - axes.keys()
        only = {axis: self._only(axis, spec.axes[axis].only, axes, path) for axis in axes}
        axes = {axis: replace(found, only=only[axis]) for axis, found in axes.items()}
        self._check_circle(axes, path)
        given, place = (spec.design, path) if override.design is None else (override.design, override.path)
        blocks = [self._block(block, axes, (*place, "design", i)) for i, block in enumerate(given or ())]
        self._within(len(spec.exclude), "entries", design.MOST_LEVELS, (*path, "exclude"))
        exclude = [self._coordinates(e, axes, (*path, "exclude", i)) for i, e in enumerate(spec.exclude)]
        if "design" not in self.raw(*place) and axes:
            blocks = [Block("one_at_a_time", {name: axis.labels for name, axis in axes.items()})]
        if self.broken or len(self.problems) > before:
            return Part(name, axes=axes, valid=False)
        part = Part(name, (), axes, tuple(blocks), tuple(exclude), skipped=override.skip, place=place)
        return replace(part, valid=self._within(design.size(part), "arms", design.MOST_ARMS, (*place, "design")))

    def _within(self, number: int, what: str, most: int, path: KeyPath) -> bool:
        if number > most:
            self.report(path, f"{number} {what}, at most {most}", at_key=True)
        return number <= most

    def _axes(self, spec: PartSpec, where: KeyPath, override: PartOverride) -> dict[str, Axis]:
        found = {}
        for name, axis in spec.axes.items():
            path: KeyPath = (*where, "axes", name)
            self.check_name(name, path)
            if name == "part":
                text = "an axis cannot be called part: in --only, filters and colors the word means the study's parts"
                self.report(path, text, at_key=True)
            values, values_path = axis.values, path
            baseline, baseline_path = axis.baseline, path
            if name in override.axes:
                values, values_path = override.axes[name].values, (*override.path, "axes", name)
                if override.axes[name].baseline is not None:
                    baseline, baseline_path = override.axes[name].baseline, values_path
            levels = self._levels(values, axis.key, values_path, path)
            label = self._level(baseline, levels, name, (*baseline_path, "baseline")) if levels else None
            if label is not None:
                found[name] = Axis(name, levels, label, axis.label)
        for name in override.axes:
            if name not in self.raw(*where, "axes"):
                nearest = suggest_or_list(name, spec.axes)
                self.report((*override.path, "axes", name), f"no axis {name}{nearest}", at_key=True)
        return found

    def _levels(self, values: Any, key: str | None, where: KeyPath, axis: KeyPath) -> tuple[Level, ...]:
        """Return the levels written at `where`.values; `axis` is where the key is written."""
        path, key_path = (*where, "values"), (*axis, "key")
        if not values:
            self.report(path, "no values")
        elif not self._within(len(values), "levels", design.MOST_LEVELS, path):
            return ()
        elif isinstance(values, list) and key is None:
            self.report(axis, "values are a list, so a key must say what they are values of", at_key=True)
        elif isinstance(values, list):
            assert key is not None
            levels = [
                Level(label_of(v), self.each_once(setting(key, v, (*path, i), key_path)), v)
                for i, v in enumerate(values)
            ]
            for i, level in enumerate(levels):
                if find_label(level.value, levels[:i]) is not None:
                    self.report((*path, i), f"{level.label} twice")
            return tuple(levels)
        else:
            return tuple(self._named_level(label, v, key, (*path, label), key_path) for label, v in values.items())
        return ()

    def _named_level(self, label: str, value: Any, key: str | None, path: KeyPath, key_path: KeyPath) -> Level:
        if not label or set(label) & set("=, \t\n"):
            text = f"{to_yaml(label)} as a level's name: no spaces, commas or equal signs"
            self.report(path, text, at_key=True)
        if key is not None:
            return Level(label, self.each_once(setting(key, value, path, key_path)), value)
        if not isinstance(value, Mapping):
            text = f"{to_yaml(value)} is not a mapping of settings; for bare values give the axis a key"
            self.report(path, text)
            return Level(label, ())
        return Level(label, self.each_once(patch(value, path)))

    # ---- design

    def _block(self, spec: BlockSpec, axes: Axes, path: KeyPath) -> Block:
        given = [kind for kind in ("one_at_a_time", "grid", "arms") if getattr(spec, kind) is not None]
        if len(given) > 1 or (not given and not self.raw(*path)):
            text = "a block is one of one_at_a_time, grid, arms"
            self.report(path, text + (f", not {len(given)}" if given else ""))
        if spec.one_at_a_time is not None:
            return Block("one_at_a_time", self._axis_list(spec.one_at_a_time, axes, (*path, "one_at_a_time")))
        if isinstance(spec.grid, dict):
            return Block("grid", self._coordinates(spec.grid, axes, (*path, "grid")))
        if spec.grid is not None:
            return Block("grid", self._axis_list(spec.grid, axes, (*path, "grid")))
        if spec.arms == []:
            self.report((*path, "arms"), "no arms")
        arms = []
        for i, arm in enumerate(spec.arms or ()):
            coordinates = self._coordinates(arm, axes, (*path, "arms", i))
            arms.append({axis: labels[0] for axis, labels in coordinates.items() if labels})
        return Block("arms", arms=tuple(arms))

    def _axis_list(self, names: list[str], axes: Axes, path: KeyPath) -> dict[str, tuple[str, ...]]:
        if not names:
            self.report(path, "no axes")
        for i, name in enumerate(names):
            if self._is_axis(name, axes, (*path, i)) and name in names[:i]:
                self.report((*path, i), f"axis {name} twice")
        return {name: axes[name].labels for name in names if name in axes}

    def _is_axis(self, name: str, axes: Axes, path: KeyPath, at_key: bool = False) -> bool:
        if name in axes or name in self.broken:
            return True
        self.report(path, f"no axis {name}" + suggest_or_list(name, [*axes, *sorted(self.broken)]), at_key)
        return False

    def _coordinates(self, spec: Mapping[str, Any], axes: Axes, path: KeyPath) -> dict[str, tuple[str, ...]]:
        """Return axis -> labels, as in a grid, an arm or an exclude."""
        if not spec:
            self.report(path, "no axes")
        found = {}
        for name, values in spec.items():
            if self._is_axis(name, axes, (*path, name), at_key=True) and name in axes:
                found[name] = self._labels(values, axes[name], (*path, name))
        return found

    def _labels(self, values: Any, axis: Axis, path: KeyPath) -> tuple[str, ...]:
        if not isinstance(values, list):
            values, paths = [values], [path]
        else:
            paths = [(*path, i) for i in range(len(values))]
        if not values:
            self.report(path, f"no levels of {axis.name}")
        elif not self._within(len(values), "levels", design.MOST_LEVELS, path):
            return ()
        labels = [self._level(v, axis.levels, axis.name, place) for v, place in zip(values, paths, strict=True)]
        for i, label in enumerate(labels):
            if label is not None and label in labels[:i]:
                self.report(paths[i], f"{label} twice")
        return tuple(dict.fromkeys(label for label in labels if label is not None))

    def _level(self, value: Any, levels: Sequence[Level], axis: str, path: KeyPath) -> str | None:
        label = find_label(value, levels)
        if label is None:
            known, wanted = [level.label for level in levels], label_of(value)
            place = "the values" if path[-1] == "baseline" else f"the levels of {axis},"
            self.report(path, f"{wanted} is not among {place} {', '.join(known)}{suggest(wanted, known)}")
        return label

    # ---- only

    def _only(self, axis: str, spec: Mapping[str, Any], axes: Axes, where: KeyPath) -> dict[str, tuple[str, ...]]:
        path = (*where, "axes", axis, "only")
        if axis in spec:
            self.report((*path, axis), "an axis cannot depend on itself", at_key=True)
        return self._coordinates(spec, axes, path) if spec else {}

    def _check_circle(self, axes: Axes, where: KeyPath) -> None:
        for name in axes:
            seen: set[str] = set()
            waiting = [other for other in axes[name].only if other != name]
            while waiting:
                other = waiting.pop()
                if other == name:
                    self.report((*where, "axes", name, "only"), "the axes' only go round in a circle", at_key=True)
                    return
                if other not in seen:
                    seen.add(other)
                    waiting.extend(axes[other].only if other in axes else ())

    def raw(self, *path: str | int) -> Mapping[str, Any]:
        """Return what the file holds at a path, valid or not; an empty mapping where that is no mapping."""
        value = self.document.value
        for step in path:
            if isinstance(value, list) and isinstance(step, int):
                value = value[step] if step < len(value) else {}
            else:
                value = value.get(step, {}) if isinstance(value, Mapping) else {}
        return value if isinstance(value, Mapping) else {}
