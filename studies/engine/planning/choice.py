"""The command line against the study: --scale, --set, --only, --seeds, checked together with the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from studies.engine.core.errors import Problem, StudyError
from studies.engine.core.formatting import first_few
from studies.engine.core.suggest import suggest, suggest_or_list
from studies.engine.core.trial import Trial
from studies.engine.core.yaml_loader import scalar
from studies.engine.planning import launcher_options
from studies.engine.planning.overrides import parse_overrides
from studies.engine.study import parser
from studies.engine.study.arms import Override, override_patch
from studies.engine.study.design import Coords
from studies.engine.study.model import Study
from studies.engine.study.parts import Part
from studies.engine.study.settings import LARGEST_SEED, find_label
from studies.engine.study.validation import cannot_be_built

if TYPE_CHECKING:
    from studies.engine.planning.selection import Selection


@dataclass(frozen=True)
class Choice:
    """What the command line chose of a study, checked."""

    scale: str = ""
    overrides: tuple[Override, ...] = ()
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """``part``, ``axis`` or ``part.axis`` -> labels."""
    seeds: tuple[int, ...] | None = None
    smoke: bool = False


def choose(file: Path, selection: Selection) -> tuple[Study, Choice]:
    """The study and the choice, or StudyError with every problem of both."""
    study, problems = parser.draft(file, further=[launcher_options.check_document])
    if study is None:
        raise StudyError(problems)
    scale = selection.scale or study.default_scale
    if scale not in study.scaled:
        problems.append(Problem("--scale", _none("scale", scale, study.scales)))
        scale = study.default_scale
    overrides = parse_overrides(selection.overrides, problems)
    keys = [key for key, _ in overrides]
    problems.extend(Problem("--set", "given twice", key) for i, key in enumerate(keys) if key in keys[:i])
    problems.extend(override_problems(study, scale, overrides))
    only = _only(study.at(scale).parts, selection.only, problems)
    seeds = _seeds(selection.seeds, problems)
    if problems:
        raise StudyError(problems)
    return study, Choice(scale, tuple(overrides), only, seeds, selection.smoke)


def _none(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if not names:
        return f"the study has no {what}s"
    return f"no {what} {name}{suggest_or_list(name, names)}"


# ---- --set


def override_problems(study: Study, scale: str, overrides: list[Override]) -> Iterator[Problem]:
    """Yield what is wrong with --set in each part: settings that an axis varies, given twice, or not valid."""
    parts = study.at(scale).parts
    names = {part.name for part in parts}
    for part in parts if overrides else ():
        patch = override_patch(names, part.name, overrides)
        varied = {s.key: axis.name for axis in part.axes.values() for level in axis.levels for s in level.patch}
        first: dict[tuple[str, bool], str] = {}
        for one in patch:
            typed = str(one.path[1])
            if (other := first.setdefault((one.key, typed.startswith(f"{part.name}.")), typed)) != typed:
                yield Problem("--set", f"{one.key} twice, also in {other}", typed)
            if one.key in varied:
                text = f"is what the axis {varied[one.key]} of {part.name} varies; --only {varied[one.key]}=... chooses"
                yield Problem("--set", text, typed)
        for one, issue in study.resolver.resolve((*part.base, *patch)).issues:
            if one in patch:
                elsewhere = len(parts) > 1 and "has no option" in issue.text and one.path[1] == one.key
                advice = f"; PART.{one.key}=... sets it in one part" if elsewhere else ""
                yield Problem("--set", issue.text + advice, str(one.path[1]))


def check_task_rules(study: Study, trials: Iterable[Trial]) -> None:
    """Raise StudyError where --set makes an arm violate the task's own rules; the file's arms were checked before."""
    arms = {f"{trial.arm.part} {trial.arm.label}": trial.config for trial in trials}
    wrong: dict[str, list[str]] = {}
    for (arm, config), answer in zip(arms.items(), study.task.check([*arms.values()]), strict=True):
        for text in (answer.refusal or "").splitlines() or cannot_be_built(config, answer).values():
            wrong.setdefault(text, []).append(arm)
    if wrong:
        raise StudyError(
            Problem("--set", text + (f"   [{first_few(names, 1)}]" if len(names) < len(arms) else ""))
            for text, names in wrong.items()
        )


# ---- --only and --seeds


def _only(parts: tuple[Part, ...], texts: Iterable[str], problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    by_name = {part.name: part for part in parts}
    for text in texts:
        name, sign, value = (piece.strip() for piece in text.partition("="))
        if not sign or not value:
            problems.append(Problem("--only", f'"{text}" is not AXIS=LEVEL,...'))
            continue
        part_name, dot, axis = name.rpartition(".")
        if name == "part":
            wrong = [w for w in value.split(",") if w not in by_name]
            problems.extend(Problem("--only", _none("part", w, by_name), "part") for w in wrong)
            found["part"] = (*found.get("part", ()), *value.split(","))
            continue
        if dot and part_name not in by_name:
            problems.append(Problem("--only", _none("part", part_name, by_name), name))
            continue
        among = [by_name[part_name]] if dot else [part for part in parts if axis in part.axes]
        if not among or axis not in among[0].axes:
            known = [a for part in among or parts for a in part.axes]
            problems.append(Problem("--only", _none("axis", axis, dict.fromkeys(known)).replace("axiss", "axes"), name))
            continue
        found[name] = (*found.get(name, ()), *_labels(name, axis, among, value, problems))
    return found


def _labels(name: str, axis: str, parts: list[Part], value: str, problems: list[Problem]) -> Iterator[str]:
    """A label may itself hold commas, so the whole is tried first."""
    levels = [level for part in parts for level in part.axes[axis].levels]
    whole = find_label(scalar(value), levels)
    for word in [value] if whole is not None else [w.strip() for w in value.split(",")]:
        label = find_label(scalar(word), levels)
        if label is None:
            known = list(dict.fromkeys(level.label for level in levels))
            problems.append(Problem("--only", f"{word} is not among {', '.join(known)}{suggest(word, known)}", name))
        else:
            yield label


def chosen(part: str, coords: Coords, only: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether --only leaves an arm: every condition on its own part's axes holds, and one of them speaks of its part.

    So ``recursion=1`` and ``capacity=0.5``, on axes of two parts, choose arms of both.
    """
    if "part" in only and part not in only["part"]:
        return False
    conditions = {name: labels for name, labels in only.items() if name != "part"}
    verdicts = [_holds(part, dict(coords), name, labels) for name, labels in conditions.items()]
    mine = [verdict for verdict in verdicts if verdict is not None]
    return all(mine) and (bool(mine) or not conditions)


def without_arm(arms: Iterable[tuple[str, Coords]], only: Mapping[str, tuple[str, ...]]) -> Iterator[Problem]:
    """Yield what was asked for that no arm has which --only leaves: it would be left out in silence."""
    left = [(part, coords) for part, coords in arms if chosen(part, coords, only)]
    if not left:
        yield Problem("--only", "leaves no trial")
        return
    for name, labels in only.items():
        for label in labels:
            if not any(part == label if name == "part" else _holds(part, dict(c), name, (label,)) for part, c in left):
                yield Problem("--only", f"{label}: no arm that the other conditions leave has it", name)


def _holds(part: str, coords: Mapping[str, str | None], name: str, labels: tuple[str, ...]) -> bool | None:
    """None where the condition is not about this part."""
    wanted, _, axis = name.rpartition(".")
    return coords[axis] in labels if wanted in ("", part) and axis in coords else None


def _seeds(text: str | None, problems: list[Problem]) -> tuple[int, ...] | None:
    """Return the seeds; a study's list does not limit them."""
    if text is None:
        return None
    found: list[int] = []
    for word in text.split(","):
        seed = scalar(word.strip())
        if not isinstance(seed, int) or isinstance(seed, bool):
            problems.append(Problem("--seeds", f'"{word}" is not a whole number'))
        elif seed in found:
            problems.append(Problem("--seeds", f"{seed} twice"))
        elif not 0 <= seed <= LARGEST_SEED:
            problems.append(Problem("--seeds", f"{seed} is not between 0 and {LARGEST_SEED}"))
        else:
            found.append(seed)
    return tuple(found)
