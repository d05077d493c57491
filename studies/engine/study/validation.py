"""Every setting of every arm at every scale against the task and the models, before anything is launched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from studies.engine.catalog.tasks import Answer
from studies.engine.core.config import canonical_json, get
from studies.engine.core.errors import Problem
from studies.engine.core.suggest import suggest
from studies.engine.core.trial import Config
from studies.engine.core.typing_check import Issue
from studies.engine.core.yaml_loader import Document
from studies.engine.runtime.task_loader import is_packaged
from studies.engine.study.acting_axes import lacks
from studies.engine.study.arms import ResolvedArm
from studies.engine.study.design import DesignPoint, baseline, complete, excluded, patches
from studies.engine.study.model import Study
from studies.engine.study.parts import KeyPath, Part, Setting
from studies.engine.study.resolver import Resolver, SettingIssue
from studies.engine.study.scales import SCALE_KEYS
from studies.engine.study.starts import Starts


def check(study: Study, document: Document) -> list[Problem]:
    """Return what is wrong with the study's settings, at any of its scales."""
    found: list[Problem] = []
    complete_arms: list[tuple[ResolvedArm, KeyPath, Config]] = []
    reported: set[tuple[Setting | None, str]] = set()
    for scale, scaled in study.scaled.items():
        arms: dict[str, list[ResolvedArm]] = {part.name: [] for part in scaled.parts}
        starts = Starts(study, scale)
        for arm in starts.arms:
            arms[arm.part.name].append(arm)
        for part in scaled.parts:
            path: KeyPath = ("parts", part.name) if "parts" in document.value else ()
            if not part.valid:
                found.extend(_issues_of_levels(part, study, document))
            if part.skipped or not part.valid:
                continue
            found.extend(_design(part, arms[part.name][0].point, study.resolver, path, document))
            wrong = list(_conflicts(arms[part.name], document))
            wrong += [_problem(issue, document) for issue in _once(arms[part.name])]
            found.extend(wrong or _twins(arms[part.name], path, document))
            if not wrong:
                complete_arms += [(arm, path, _with_starts(arm, starts)) for arm in arms[part.name]]
        found.extend(_elsewhere(starts, document))
    answers = study.task.check([config for *_, config in complete_arms])
    for (arm, path, _), answer in zip(complete_arms, answers, strict=True):
        place = (*path, "base") if arm.point.is_baseline else _last_varied(arm, path)
        for setting, text in _refusals(arm, answer):
            if (setting, text) not in reported:  # each setting and reason once, though many arms may share them
                reported.add((setting, text))
                text = f"arm {arm.point.label}: {text}"
                issue = setting and SettingIssue(setting, Issue((), text))
                found.append(_problem(issue, document) if issue else document.problem(place, text))
    return found


def _with_starts(arm: ResolvedArm, starts: Starts) -> Config:
    """Return the arm's config as `check` takes it: with those of the trials whose weights its own model takes."""
    ours = starts.study.task
    theirs = {key: (start.starts.study.task, start.arm.config) for key, start in starts.of(arm.key).items()}
    asked = {
        key: {"task": task.name, "config": config}
        for key, (task, config) in theirs.items()
        if not ours.weights[key] and is_packaged(ours.ref) and is_packaged(task.ref)
    }
    return {**arm.config, "starts": asked} if asked else arm.config


def _once(arms: Sequence[ResolvedArm]) -> Iterator[SettingIssue]:
    """Yield what is wrong with settings; of a key that several models do not know only the message that helps most."""
    unknown: dict[Setting, SettingIssue] = {}
    for found in (issue for arm in arms for issue in arm.issues):
        if not found.issue.at_key:
            yield found
        elif found.setting not in unknown or "?" in found.issue.text:
            unknown[found.setting] = found
    yield from unknown.values()


def _elsewhere(starts: Starts, document: Document) -> Iterator[Problem]:
    """Yield what is wrong with arms of other studies from which arms of this one start."""
    for setting, start in starts.elsewhere():
        answer = start.starts.study.task.check([start.arm.config])[0]
        wrong = [issue.text for _, issue in start.arm.issues] or (answer.refusal or "").splitlines()
        if text := next(filter(None, [*wrong, *cannot_be_built(start.arm.config, answer).values()]), ""):
            label = f"{start.starts.study.name}, arm {' '.join(start.key)}"
            yield _problem(SettingIssue(setting, Issue((), f"{label}: {text}")), document)


def _refusals(arm: ResolvedArm, answer: Answer) -> Iterator[tuple[Setting | None, str]]:
    """Yield why an arm cannot run, each reason with the last setting that it names."""
    settings = (*arm.part.base, *patches(arm.part, arm.point))
    for text in (answer.refusal or "").splitlines():
        yield _setting_of_rule(settings, text), text
    for key, text in cannot_be_built(arm.config, answer).items():
        yield _setting_of_model(settings, key, answer.models[key]), text
    for key, text in answer.starts.items():
        yield arm.references[key], text.removeprefix(f"{key}: ")


def cannot_be_built(config: Config, answer: Answer) -> dict[str, str]:
    """Return by field why a trial would fail when it builds the model, or applies the reducer."""
    found = {}
    for key, reason in answer.models.items():
        name = get(config, key)["name"]
        verb = "applied" if key == "reducer" else "built"
        named = key != "reducer" and reason.startswith(f"{name} ")
        found[key] = reason if named else f"{name} cannot be {verb}: {reason}"
    return found


def _setting_of_rule(settings: Sequence[Setting], text: str) -> Setting | None:
    """Return the last setting that a rule's text names: by its whole key, or below the key that the text begins with,
    as in ``data: limit must be at least 1``."""
    section, colon, rest = text.partition(": ")
    below = f"{section}." if colon and re.fullmatch(r"[\w.]+", section) else None
    whole = [setting for setting in settings if re.search(rf"\b{re.escape(setting.key)}\b", text)]
    inside = [setting for setting in settings if below and setting.key.startswith(below)]
    named = [one for one in inside if below and re.search(rf"\b{re.escape(one.key.removeprefix(below))}\b", rest)]
    first = [one for one in whole if text.startswith(f"{one.key} ")]
    return next(reversed(first if "must be" in text and first else whole or named), None)


def _setting_of_model(settings: Sequence[Setting], key: str, reason: str) -> Setting | None:
    """Return the last setting of a model option that the constructor's reason names, else the last of any option."""
    options = [setting for setting in settings if setting.key.startswith(f"{key}.")]
    named = [setting for setting in options if re.search(rf"\b{setting.key.split('.')[-1]}\b", reason)]
    names = [setting for setting in options if key == "reducer" and setting.key == "reducer.name"]
    return (named or names or options)[-1] if options else None


def _issues_of_levels(part: Part, study: Study, document: Document) -> Iterator[Problem]:
    """Check a part that has no arms level by level."""
    levels = [level.patch for axis in part.axes.values() for level in axis.levels]
    for patch in levels or [()]:
        for issue in study.resolver.resolve((*part.base, *patch)).issues:
            yield _problem(issue, document)


def _problem(found: SettingIssue, document: Document) -> Problem:
    """Return a setting's problem, at the place where the setting is written."""
    setting, issue = found
    text = issue.text
    if issue.at_key and len(setting.path) == 3 and setting.path[0] == "scales" and "?" not in text:
        text += suggest(setting.key, SCALE_KEYS)
    if issue.at_key and setting.key_path is not None:
        return document.problem(setting.key_path, text)
    return document.problem((*setting.path, *issue.path), text, issue.at_key)


def _design(
    part: Part, first: DesignPoint, resolver: Resolver, where: KeyPath, document: Document
) -> Iterator[Problem]:
    """Yield blocks that vary nothing, and arms that cannot be. first: the baseline."""
    base = dict(first.coords)
    if part.axes and excluded(part, baseline(part)):
        yield document.problem((*where, "exclude"), "the baseline is excluded", at_key=True)
    for i, block in enumerate(part.design):
        path = (*part.place, "design", i)
        if block.kind == "one_at_a_time":
            for axis in block.axes:
                if base[axis] is None:
                    text = f"{axis} is inert at the baseline, so it would never vary"
                    yield document.problem((*path, "one_at_a_time"), text, at_key=True)
        for j, arm in enumerate(block.arms):
            coords = complete(part.axes, arm)
            lacking = lacks(part, coords, resolver)
            for axis in arm:
                if axis in lacking:
                    text = f"{axis} is inert there: the arm's model or reducer has no such option"
                    yield document.problem((*path, "arms", j, axis), text, at_key=True)
                elif dict(coords)[axis] is None:
                    acts = ", ".join(f"{a}={'|'.join(labels)}" for a, labels in part.axes[axis].only.items())
                    text = f"{axis} is inert there: it acts only at {acts}"
                    yield document.problem((*path, "arms", j, axis), text, at_key=True)
            if excluded(part, coords):
                yield document.problem((*path, "arms", j), "this arm is excluded below")


def _conflicts(arms: Sequence[ResolvedArm], document: Document) -> Iterator[Problem]:
    """Yield pairs of axes that set the same key differently in one arm: the result would depend on their order."""
    seen: set[tuple[Setting, Setting]] = set()
    for arm in arms:
        part, point = arm.part, arm.point
        acting = {name: part.axes[name].level(level).patch for name, level in point.coords if level is not None}
        for (one, first), (other, second) in combinations(acting.items(), 2):
            for a in first:
                for b in second:
                    if (a, b) not in seen and _clash(a, b):
                        seen.add((a, b))
                        text = f"{one} and {other} both set {b.key} in the arm {point.label}, to different values"
                        yield document.problem(b.path, text, b.key_path is None)


def _clash(a: Setting, b: Setting) -> bool:
    if a.key == b.key:
        return bool(a.value != b.value)
    return a.key.startswith(f"{b.key}.") or b.key.startswith(f"{a.key}.")


def _twins(arms: Sequence[ResolvedArm], path: KeyPath, document: Document) -> Iterator[Problem]:
    """Yield arms that differ in name only."""
    first: dict[str, DesignPoint] = {}
    for arm in arms:
        twin = first.setdefault(canonical_json(arm.config), arm.point)
        if twin is not arm.point:
            text = f"arms {twin.label} and {arm.point.label} are the same: their levels set the same values"
            yield document.problem(_last_varied(arm, path), text, at_key=True)


def _last_varied(arm: ResolvedArm, path: KeyPath) -> KeyPath:
    """Return the path of the last axis that is not at its baseline."""
    varied = [name for name, level in arm.point.coords if level not in (None, arm.part.axes[name].baseline)]
    return (*path, "axes", varied[-1]) if varied else path
