"""From a study file's text to parts, axes and blocks: names are looked up here, and what cannot be found is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from studies.engine.core.errors import Problem
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.typing_check import Issue, to_yaml
from studies.engine.core.yaml_loader import Document
from studies.engine.study import schema, settings
from studies.engine.study.model import Axis, Block, Level, Part
from studies.engine.study.scales import ScaleOver
from studies.engine.study.schema import BlockText, PartText
from studies.engine.study.settings import KeyPath, find_label, label_of, patch, setting


class Reader:
    """Collects problems while it reads; what it returns leaves out what was wrong."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.problems)
        self.broken: Set[str] = frozenset()
        """Axes of the part at hand that the file has and that could not be read: naming them is no second mistake."""

    def say(self, path: KeyPath, text: str, at_key: bool = False) -> None:
        self.problems.append(self.document.problem(path, text, at_key))

    def fit(self, kind: Any, value: Any, path: KeyPath) -> Any:
        found: list[Issue] = []
        fitted = schema.fit(kind, value, found, path)
        self.say_all(found)
        return fitted

    def say_all(self, found: Iterable[Issue]) -> None:
        for misfit in found:
            self.say(misfit.path, misfit.text, misfit.at_key)

    def seeds(self, seeds: Sequence[int], path: KeyPath) -> tuple[int, ...]:
        if not seeds:
            self.say(path, "no seeds")
        for i, seed in enumerate(seeds):
            if seed < 0:
                self.say((*path, i), f"{seed} is negative")
            elif seed in seeds[:i]:
                self.say((*path, i), f"seed {seed} twice")
        return tuple(dict.fromkeys(seeds))

    def name(self, name: str, path: KeyPath) -> None:
        if not settings.NAME.fullmatch(name):
            self.say(path, f"{to_yaml(name)} is no name: letters, digits, _ - . only", at_key=True)

    # ---- a part

    def part(self, name: str, text: PartText, where: KeyPath, over: ScaleOver) -> Part:
        """The part at one scale, its base left empty; not whole where its axes or design are wrong."""
        before = len(self.problems)
        axes = self.axes(text, where, over)
        self.broken = self._raw(*where, "axes").keys() - axes.keys()
        only = {axis: self._only(axis, text.axes[axis].only, axes, where) for axis in axes}
        axes = {axis: replace(found, only=only[axis]) for axis, found in axes.items()}
        self._no_circle(axes, where)
        design = [self.block(block, axes, (*where, "design", i)) for i, block in enumerate(text.design or ())]
        exclude = [self._coordinates(e, axes, (*where, "exclude", i)) for i, e in enumerate(text.exclude)]
        if "design" not in self._raw(*where) and axes:
            design = [Block("one_at_a_time", {name: axis.labels for name, axis in axes.items()})]
        if self.broken or len(self.problems) > before:
            return Part(name, axes=axes, whole=False)
        return Part(name, (), axes, tuple(design), tuple(exclude))

    def axes(self, text: PartText, where: KeyPath, over: ScaleOver) -> dict[str, Axis]:
        found = {}
        for name, axis in text.axes.items():
            path: KeyPath = (*where, "axes", name)
            self.name(name, path)
            baseline, baseline_path = axis.baseline, (*path, "baseline")
            if name in over.axes:
                levels = self.levels(over.axes[name].values, axis.key, (*over.where, "axes", name), path)
                if over.axes[name].baseline is not None:
                    baseline, baseline_path = over.axes[name].baseline, (*over.where, "axes", name, "baseline")
            else:
                levels = self.levels(axis.values, axis.key, path, path)
            label = self._level(baseline, levels, name, baseline_path) if levels else None
            if label is not None:
                found[name] = Axis(name, levels, label, axis.label)
        for name in over.axes:
            if name not in self._raw(*where, "axes"):
                self.say((*over.where, "axes", name), f"no axis {name}" + suggest_or_list(name, text.axes), at_key=True)
        return found

    def levels(self, values: Any, key: str | None, where: KeyPath, axis: KeyPath) -> tuple[Level, ...]:
        """The levels that stand at `where`.values; `axis` is where the key was written."""
        path, named = (*where, "values"), (*axis, "key")
        if not values:
            self.say(path, "no values")
        elif isinstance(values, list) and key is None:
            self.say(axis, "values are a list, so a key must say what they are values of", at_key=True)
        elif isinstance(values, list):
            assert key is not None
            levels = [Level(label_of(v), setting(key, v, (*path, i), named), v) for i, v in enumerate(values)]
            for i, level in enumerate(levels):
                if find_label(level.value, levels[:i]) is not None:
                    self.say((*path, i), f"{level.label} twice")
            return tuple(levels)
        else:
            return tuple(self._named_level(label, v, key, (*path, label), named) for label, v in values.items())
        return ()

    def _named_level(self, label: str, value: Any, key: str | None, path: KeyPath, named: KeyPath) -> Level:
        if not label or set(label) & set("=, \t\n"):
            self.say(path, f"{to_yaml(label)} as a level's name: no spaces, commas or equal signs", at_key=True)
        if key is not None:
            return Level(label, setting(key, value, path, named), value)
        if not isinstance(value, Mapping):
            self.say(path, f"{to_yaml(value)} is not a mapping of settings; for bare values give the axis a key")
            return Level(label, ())
        return Level(label, patch(value, path))

    # ---- design

    def block(self, text: BlockText, axes: Mapping[str, Axis], path: KeyPath) -> Block:
        given = [kind for kind in ("one_at_a_time", "grid", "arms") if getattr(text, kind) is not None]
        if len(given) > 1 or (not given and not self._raw(*path)):
            self.say(path, "a block is one of one_at_a_time, grid, arms" + (f", not {len(given)}" if given else ""))
        if text.one_at_a_time is not None:
            return Block("one_at_a_time", self._axis_list(text.one_at_a_time, axes, (*path, "one_at_a_time")))
        if isinstance(text.grid, dict):
            return Block("grid", self._coordinates(text.grid, axes, (*path, "grid")))
        if text.grid is not None:
            return Block("grid", self._axis_list(text.grid, axes, (*path, "grid")))
        if text.arms == []:
            self.say((*path, "arms"), "no arms")
        arms = []
        for i, arm in enumerate(text.arms or ()):
            coordinates = self._coordinates(arm, axes, (*path, "arms", i))
            arms.append({axis: labels[0] for axis, labels in coordinates.items() if labels})
        return Block("arms", arms=tuple(arms))

    def _axis_list(self, names: list[str], axes: Mapping[str, Axis], path: KeyPath) -> dict[str, tuple[str, ...]]:
        if not names:
            self.say(path, "no axes")
        for i, name in enumerate(names):
            if name not in axes and name not in self.broken:
                self.say((*path, i), f"no axis {name}" + suggest_or_list(name, [*axes, *sorted(self.broken)]))
            elif name in names[:i]:
                self.say((*path, i), f"axis {name} twice")
        return {name: axes[name].labels for name in names if name in axes}

    def _coordinates(
        self, text: Mapping[str, Any], axes: Mapping[str, Axis], path: KeyPath
    ) -> dict[str, tuple[str, ...]]:
        """Axis -> labels, as in a grid, an arm or an exclude."""
        if not text:
            self.say(path, "no axes")
        found = {}
        for name, values in text.items():
            if name not in axes and name not in self.broken:
                self.say(
                    (*path, name), f"no axis {name}" + suggest_or_list(name, [*axes, *sorted(self.broken)]), at_key=True
                )
            elif name in axes:
                found[name] = self._labels(values, axes[name], (*path, name))
        return found

    def _labels(self, values: Any, axis: Axis, path: KeyPath) -> tuple[str, ...]:
        if not isinstance(values, list):
            values, places = [values], [path]
        else:
            places = [(*path, i) for i in range(len(values))]
        if not values:
            self.say(path, f"no levels of {axis.name}")
        labels = [self._level(v, axis.levels, axis.name, place) for v, place in zip(values, places, strict=True)]
        for i, label in enumerate(labels):
            if label is not None and label in labels[:i]:
                self.say(places[i], f"{label} twice")
        return tuple(dict.fromkeys(label for label in labels if label is not None))

    def _level(self, value: Any, levels: Sequence[Level], axis: str, path: KeyPath) -> str | None:
        label = find_label(value, levels)
        if label is None:
            known = [level.label for level in levels]
            place = "the values" if path[-1] == "baseline" else f"the levels of {axis},"
            self.say(
                path, f"{label_of(value)} is not among {place} {', '.join(known)}{suggest(label_of(value), known)}"
            )
        return label

    # ---- only

    def _only(
        self, axis: str, text: Mapping[str, Any], axes: Mapping[str, Axis], where: KeyPath
    ) -> dict[str, tuple[str, ...]]:
        path = (*where, "axes", axis, "only")
        if axis in text:
            self.say((*path, axis), "an axis cannot depend on itself", at_key=True)
        return self._coordinates(text, axes, path) if text else {}

    def _no_circle(self, axes: Mapping[str, Axis], where: KeyPath) -> None:
        for name in axes:
            seen: set[str] = set()
            waiting = [other for other in axes[name].only if other != name]
            while waiting:
                other = waiting.pop()
                if other == name:
                    self.say((*where, "axes", name, "only"), "the axes' only go round in a circle", at_key=True)
                    return
                if other not in seen:
                    seen.add(other)
                    waiting.extend(axes[other].only if other in axes else ())

    def _raw(self, *path: str | int) -> Mapping[str, Any]:
        """What the file holds at the path, whether it fits or not."""
        value = self.document.value
        for step in path:
            if isinstance(value, list) and isinstance(step, int):
                value = value[step] if step < len(value) else {}
            else:
                value = value.get(step, {}) if isinstance(value, Mapping) else {}
        return value if isinstance(value, Mapping) else {}
