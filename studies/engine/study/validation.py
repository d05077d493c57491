"""Every setting of every arm at every scale against the task and the models, before anything is launched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from studies.engine.core.config import canonical_json
from studies.engine.core.errors import Problem
from studies.engine.core.suggest import suggest
from studies.engine.core.typing_check import fields
from studies.engine.core.yaml_loader import Document
from studies.engine.study.design import Point, baseline, excluded, expand, patches, settle
from studies.engine.study.model import Part, Setting, Study
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
        text += suggest(setting.key, SCALE_KEYS)
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
    """The task's own rules, and arms that differ in name alone."""
    arms: dict[str, Point] = {}
    rules = _has_rules(resolver.task.config)
    for point in points:
        config = resolver.config((*part.base, *patches(part, point)))
        refusal = resolver.refusal(config) if rules else None
        if refusal:
            place = (*where, "base") if point.is_baseline else _moved(part, point, where)
            yield document.problem(place, f"arm {point.label}: {refusal}")
        twin = arms.setdefault(canonical_json(config), point)
        if twin is not point:
            text = f"arms {twin.label} and {point.label} are the same: their levels set the same values"
            yield document.problem(_moved(part, point, where), text, at_key=True)


def _moved(part: Part, point: Point, where: KeyPath) -> KeyPath:
    """The last axis in which an arm leaves the baseline."""
    moved = [name for name, level in point.coords if level not in (None, part.axes[name].baseline)]
    return (*where, "axes", moved[-1]) if moved else where


def _has_rules(config: Any) -> bool:
    """Whether a config class or one inside it has rules of its own; else building every arm's config would be idle."""
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        return False
    return hasattr(config, "__post_init__") or any(_has_rules(kind) for _, kind in fields(config).values())
