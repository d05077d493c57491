"""Every setting of every arm at every scale against the task and the models, before anything is launched."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from studies.engine.catalog.tasks import Answer
from studies.engine.core.errors import Problem
from studies.engine.core.trial import Config
from studies.engine.core.typing_check import near
from studies.engine.core.yaml_loader import Document
from studies.engine.planning.identity import canonical_json
from studies.engine.study.design import Point, baseline, excluded, expand, patches, settle
from studies.engine.study.model import Part, Patch, Setting, Study
from studies.engine.study.resolver import Resolver
from studies.engine.study.scales import SCALE_KEYS
from studies.engine.study.settings import KeyPath


def check(study: Study, document: Document, resolver: Resolver | None = None) -> list[Problem]:
    """What is wrong with the study's settings, at any of its scales."""
    resolver = resolver or Resolver(study.task)
    whole = "parts" not in document.value
    found: list[Problem] = []
    for sized in study.sizes.values():
        for part in sized.parts:
            where: KeyPath = () if whole else ("parts", part.name)
            found.extend(_part(part, where, document, resolver))
    return found


def _part(part: Part, where: KeyPath, document: Document, resolver: Resolver) -> Iterator[Problem]:
    if not part.whole:
        levels = [level.patch for axis in part.axes.values() for level in axis.levels]
        for patch in levels or [()]:
            for setting, misfit in resolver.misfits((*part.base, *patch)):
                yield problem_of(setting, misfit.path, misfit.text, misfit.at_key, document)
        return
    yield from _design(part, where, document)
    points = expand(part)
    wrong = list(_conflicts(part, points, document))
    for point in points:
        for setting, misfit in resolver.misfits((*part.base, *patches(part, point))):
            wrong.append(problem_of(setting, misfit.path, misfit.text, misfit.at_key, document))
    yield from wrong
    if not wrong:
        yield from _whole_configs(part, points, where, document, resolver)


def problem_of(setting: Setting, path: KeyPath, text: str, at_key: bool, document: Document | None) -> Problem:
    """A setting's problem, where the setting was written."""
    if (setting.where and setting.where[0] in ("--set", "--smoke")) or document is None:
        return Problem(str(setting.where[0]) if setting.where else "", text, setting.key)
    if at_key and len(setting.where) == 3 and setting.where[0] == "scales" and "?" not in text:
        text += near(setting.key, SCALE_KEYS)
    if at_key and setting.named is not None:
        return document.problem(setting.named, text)
    return document.problem((*setting.where, *path), text, at_key)


def _design(part: Part, where: KeyPath, document: Document) -> Iterator[Problem]:
    """Blocks that ask for nothing, or for what cannot be."""
    base = dict(baseline(part))
    if part.axes and excluded(part, baseline(part)):
        yield document.problem((*where, "exclude"), "the baseline is excluded", at_key=True)
    for i, block in enumerate(part.design):
        path = (*where, "design", i)
        if block.kind == "one_at_a_time":
            for axis in block.axes:
                if base[axis] is None:
                    text = f"{axis} is inert at the baseline, so it would never vary"
                    yield document.problem((*path, "one_at_a_time"), text, at_key=True)
        for j, arm in enumerate(block.arms):
            there = dict(settle(part.axes, arm))
            for axis in arm:
                if there[axis] is None:
                    text = f"{axis} is inert there: {_reason(part, axis)}"
                    yield document.problem((*path, "arms", j, axis), text, at_key=True)
            if excluded(part, tuple(there.items())):
                yield document.problem((*path, "arms", j), "this arm is excluded below")


def _reason(part: Part, axis: str) -> str:
    return "it acts only at " + ", ".join(f"{a}={'|'.join(labels)}" for a, labels in part.axes[axis].only.items())


def _conflicts(part: Part, points: tuple[Point, ...], document: Document) -> Iterator[Problem]:
    """Two axes that set the same key differently in one arm: its definition would hang on their order."""
    seen: set[tuple[int, int]] = set()
    for point in points:
        acting = {name: part.axes[name].level(level).patch for name, level in point.coords if level is not None}
        for (one, first), (other, second) in combinations(acting.items(), 2):
            for a in first:
                for b in second:
                    if (id(a), id(b)) not in seen and _clash(a, b):
                        seen.add((id(a), id(b)))
                        text = f"{one} and {other} both set {b.key} in the arm {point.label}, to different values"
                        yield problem_of(b, (), text, b.named is None, document)


def _clash(a: Setting, b: Setting) -> bool:
    if a.key == b.key:
        return bool(a.value != b.value)
    return a.key.startswith(f"{b.key}.") or b.key.startswith(f"{a.key}.")


def _whole_configs(
    part: Part, points: tuple[Point, ...], where: KeyPath, document: Document, resolver: Resolver
) -> Iterator[Problem]:
    """The task's own rules, models that cannot be built, and arms that differ in name alone."""
    arms: dict[str, Point] = {}
    configs = [resolver.config((*part.base, *patches(part, point))) for point in points]
    unbuilt: set[tuple[int, str]] = set()
    for point, config, answer in zip(points, configs, resolver.task.check(configs), strict=True):
        place = (*where, "base") if point.is_baseline else _moved(part, point, where)
        if answer.refusal:
            yield document.problem(place, f"arm {point.label}: {answer.refusal}")
        for key, text in cannot_be_built(config, answer).items():
            setting = _setting_of_model((*part.base, *patches(part, point)), key, answer.models[key])
            if (id(setting), text) not in unbuilt:  # once, though every arm may share it
                unbuilt.add((id(setting), text))
                text = f"arm {point.label}: {text}"
                yield problem_of(setting, (), text, False, document) if setting else document.problem(place, text)
        twin = arms.setdefault(canonical_json(config), point)
        if twin is not point:
            text = f"arms {twin.label} and {point.label} are the same: their levels set the same values"
            yield document.problem(_moved(part, point, where), text, at_key=True)


def cannot_be_built(config: Config, answer: Answer) -> dict[str, str]:
    """By model field, why the task's trial would fail when it builds the model."""
    found = {}
    for key, reason in answer.models.items():
        options: Any = config
        for step in key.split("."):
            options = options[step]
        found[key] = f"{options['name']} cannot be built: {reason}"
    return found


def _setting_of_model(patch: Patch, key: str, reason: str) -> Setting | None:
    """The setting to point at: the last one of a model option that the constructor's reason names, or of any option."""
    about = [setting for setting in patch if setting.key.startswith(f"{key}.")]
    named = [setting for setting in about if re.search(rf"\b{setting.key.split('.')[-1]}\b", reason)]
    return (named or about)[-1] if about else None


def _moved(part: Part, point: Point, where: KeyPath) -> KeyPath:
    """The last axis in which an arm leaves the baseline."""
    moved = [name for name, level in point.coords if level not in (None, part.axes[name].baseline)]
    return (*where, "axes", moved[-1]) if moved else where
