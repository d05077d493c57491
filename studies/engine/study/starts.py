"""Weights that come from another trial: ``init: {part: models, model: DeiT}``, an arm by its part and its levels.

Also ``{study: NAME, scale: SCALE, part: PART, AXIS: LEVEL}`` for an arm of another study, ``arm: LABEL`` instead of
levels, and ``seed: N`` instead of the same seed. An axis that is not named is at its baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studies.engine.core import config as configs
from studies.engine.core.errors import StudyError
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.trial import KEEP
from studies.engine.core.typing_check import Issue
from studies.engine.study.arms import Override, ResolvedArm
from studies.engine.study.design import complete, patches
from studies.engine.study.model import Study
from studies.engine.study.parts import Part, Setting
from studies.engine.study.resolver import SettingIssue
from studies.engine.study.settings import LARGEST_SEED, find_label, label_of

WORDS = ("study", "scale", "part", "arm", "seed")
"""What a mapping may hold besides the levels of axes."""
Key = tuple[str, str]
"""Part and label of an arm."""


@dataclass(frozen=True)
class Start:
    """The arm whose weights another arm takes, in the study at the scale that it belongs to."""

    starts: Starts
    key: Key
    seed: int | None
    """None: the seed of the trial that takes them."""

    @property
    def arm(self) -> ResolvedArm:
        return self.starts.by_key[self.key]


class WrongReference(Exception):
    """The mapping names no arm. key: the entry that is wrong, if it is one; at_key: the key itself is."""

    def __init__(self, text: str, key: str | None = None, at_key: bool = False) -> None:
        super().__init__(text)
        self.issue = Issue(() if key is None else (key,), text, at_key)


class Starts:
    """The arms of a study at a scale, and what each of them starts from."""

    def __init__(
        self,
        study: Study,
        scale: str,
        overrides: Sequence[Override] = (),
        smoke: bool = False,
        family: dict[tuple[Path, str], Starts] | None = None,
    ) -> None:
        """overrides: of this study alone. family: all that were made on the way, by file and scale."""
        self.study, self.scale, self._smoke = study, scale, smoke
        self._family = {} if family is None else family
        self._family[study.file.resolve(), scale] = self
        self.by_key = {arm.key: arm for arm in study.arms(scale, overrides, smoke)}
        self._by_point = {(arm.part.name, arm.point.coords): arm.key for arm in self.by_key.values()}
        self._found: dict[Key, dict[str, Start]] = {}
        self._issues: dict[Key, list[SettingIssue]] = {}
        self._followers = [arm for arm in self.by_key.values() if arm.references]
        for arm in self._followers:
            self._resolve(arm)
        for starts in self._family.values() if family is None else ():  # all are known now
            for arm in starts._followers:
                starts._check_circle(arm)
            starts.by_key |= {arm.key: starts._complete(arm) for arm in starts._followers}

    @property
    def arms(self) -> tuple[ResolvedArm, ...]:
        return tuple(self.by_key.values())

    def of(self, key: Key) -> Mapping[str, Start]:
        """Return by config key what an arm starts from."""
        return self._found.get(key, {})

    @property
    def other_studies(self) -> dict[str, str]:
        """File name and text of the other studies that were read on the way."""
        studies = [starts.study for starts in self._family.values() if starts.study.name != self.study.name]
        return {study.file.name: study.text for study in studies}

    def elsewhere(self) -> Iterator[tuple[Setting, Start]]:
        """Yield each arm of another study that arms of this one start from, also through others, and where that is
        written."""
        seen: set[tuple[int, Key]] = set()
        for arm in self._followers:
            waiting = [(arm.references[name], start) for name, start in self.of(arm.key).items()]
            while waiting:
                setting, start = waiting.pop()
                if (id(start.starts), start.key) not in seen and start.starts is not self:
                    seen.add((id(start.starts), start.key))
                    waiting += [(setting, after) for after in start.starts.of(start.key).values()]
                    yield setting, start

    def _resolve(self, arm: ResolvedArm) -> None:
        found, issues = self._found.setdefault(arm.key, {}), self._issues.setdefault(arm.key, [])
        for name, setting in arm.references.items():
            try:
                start = self._find(setting.value, arm)
                if start is not None:
                    self._check_model(arm, name, start)
                    found[name] = start
            except WrongReference as error:
                issues.append(SettingIssue(setting, error.issue))

    def _check_model(self, arm: ResolvedArm, name: str, start: Start) -> None:
        """Weights of a model that the study names itself must be of that one; a recipe's model gives way. An arm that
        loads weights into its own model must name that, and of the width that they have."""
        model, settings = self.study.resolver.weights[name], (*arm.part.base, *patches(arm.part, arm.point))
        theirs = configs.get(start.arm.config, "model")
        for setting in settings:
            if model and setting.key == f"{model}.name" and setting.value != theirs["name"]:
                raise WrongReference(
                    f"weights of {theirs['name']}, but {setting.key} is {setting.value}: leave that out"
                )
        if model or not (ours := arm.config.get("model")):
            return
        unnamed = ours["name"] == configs.get(self.study.resolver.task_defaults, "model.name")
        if unnamed and ours["name"] != theirs["name"] and all(setting.key != "model.name" for setting in settings):
            raise WrongReference(f"weights of {theirs['name']}, but no model is named here: it would be {ours['name']}")
        width, given = ours.get("embed_dim"), theirs.get("embed_dim")
        if width and given and width != given:
            raise WrongReference(f"weights of embed_dim {given}, but model.embed_dim is {width} here")

    def _complete(self, arm: ResolvedArm) -> ResolvedArm:
        """Return the arm with the models that its weights are of, and everything that is wrong with it."""
        config, defaults = configs.copy(arm.config), configs.copy(arm.defaults)
        for name, start in self.of(arm.key).items():
            if model := self.study.resolver.weights[name]:
                configs.put(config, model, configs.get(start.arm.config, "model"), replace=True)
                configs.put(defaults, model, configs.get(start.arm.defaults, "model"), replace=True)
        return replace(arm, config=config, defaults=defaults, issues=(*arm.issues, *self._issues[arm.key]))

    def _check_circle(self, arm: ResolvedArm) -> None:
        for name, start in self.of(arm.key).items():
            if path := _path_to(start, self, arm.key):
                text = f"goes round in a circle: {' -> '.join(map(' '.join, (arm.key, *path)))}"
                self._issues[arm.key].append(SettingIssue(arm.references[name], Issue((), text)))

    # ---- from a mapping to an arm

    def _find(self, wanted: Mapping[str, Any], arm: ResolvedArm) -> Start | None:
        """Return what a mapping means; None where the part that it names is wrong itself."""
        there = self._place(wanted)
        part = there._part(wanted, arm.part if there is self else None)
        if not part.valid:
            return None
        key = there._labelled(part, wanted) if "arm" in wanted else there._at_levels(part, wanted)
        if KEEP not in there.by_key[key].config:
            raise WrongReference(f"the task {there.study.task.name} keeps no weights: it has no {KEEP}")
        seed = wanted.get("seed")
        if seed is not None and (type(seed) is not int or not 0 <= seed <= LARGEST_SEED):
            raise WrongReference(f"{label_of(seed)} is no seed", "seed")
        return Start(there, key, seed)

    def _place(self, wanted: Mapping[str, Any]) -> Starts:
        study = self.study
        if "study" in wanted and wanted["study"] != study.name:
            try:
                study = self.study.others(str(wanted["study"]))
            except StudyError as error:
                first = error.problems[0]
                raise WrongReference(str(first) if first.line else first.text, "study") from error
        scale = str(wanted.get("scale", self.scale if study.scales else ""))
        if scale not in study.scaled:
            known = suggest_or_list(scale, study.scales) or ": it has none"
            key = "scale" if "scale" in wanted else "study"
            raise WrongReference(f"the study {study.name} has no scale {scale}{known}; `scale:` chooses", key)
        known_place = self._family.get((study.file.resolve(), scale))
        return known_place or Starts(study, scale, smoke=self._smoke, family=self._family)

    def _part(self, wanted: Mapping[str, Any], own: Part | None) -> Part:
        """own: the part where the mapping stands, in the same study."""
        parts = {part.name: part for part in self.study.at(self.scale).parts}
        name = wanted.get("part", own.name if own else next(iter(parts)) if len(parts) == 1 else None)
        if name is None:
            raise WrongReference(f"part is missing: the study {self.study.name} has {', '.join(parts)}")
        if not isinstance(name, str) or name not in parts:
            raise WrongReference(f"no part {label_of(name)}{suggest_or_list(str(name), parts)}", "part")
        return parts[name]

    def _labelled(self, part: Part, wanted: Mapping[str, Any]) -> Key:
        if axes := [key for key in wanted if key not in WORDS]:
            raise WrongReference(f"arm already names the levels: leave out {axes[0]}", axes[0], at_key=True)
        key = part.name, label_of(wanted["arm"])
        if key not in self.by_key:
            known = suggest_or_list(key[1], [label for name, label in self.by_key if name == part.name])
            raise WrongReference(f"the part {part.name} has no arm {key[1]}{known}", "arm")
        return key

    def _at_levels(self, part: Part, wanted: Mapping[str, Any]) -> Key:
        choice = {name: _level(part, name, value) for name, value in wanted.items() if name not in WORDS}
        coords = complete(part.axes, choice)
        for key, arm in self.by_key.items():  # an axis may be inert there for want of an option, too
            without = {name for name, level in arm.point.coords if level is None}
            if key[0] == part.name and complete(part.axes, choice, without) == arm.point.coords:
                coords = arm.point.coords
        if inert := [name for name in choice if dict(coords)[name] is None]:
            raise WrongReference(f"{inert[0]} is inert there", inert[0], at_key=True)
        if (part.name, coords) not in self._by_point:
            levels = " ".join(f"{name}={label}" for name, label in choice.items())
            raise WrongReference(f"the design of the part {part.name} has no arm {levels}")
        return self._by_point[part.name, coords]


def _level(part: Part, axis: str, value: Any) -> str:
    if axis not in part.axes:
        known = suggest_or_list(axis, [*part.axes, *WORDS])
        raise WrongReference(f"the part {part.name} has no axis {axis}{known}", axis, at_key=True)
    levels = part.axes[axis].levels
    label = find_label(value, levels)
    if label is None:
        labels, given = [level.label for level in levels], label_of(value)
        text = f"{given} is not among the levels of {axis}, {', '.join(labels)}{suggest(given, labels)}"
        raise WrongReference(text, axis)
    return label


def _path_to(start: Start, starts: Starts, key: Key) -> list[Key]:
    """Return the arms from a start back to an arm of `starts`; empty where that is not reached."""
    seen: set[tuple[int, Key]] = set()
    waiting = [[start]]
    while waiting:
        path = waiting.pop()
        here = path[-1]
        if here.starts is starts and here.key == key:
            return [step.key for step in path]
        if (id(here.starts), here.key) not in seen:
            seen.add((id(here.starts), here.key))
            waiting += [[*path, after] for after in here.starts.of(here.key).values()]
    return []
