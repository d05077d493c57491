"""One arm from what a person types: a label, ``sret recursion=1``, or levels of axes, ``recursion=1, slices=none``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paper_tables.core.errors import Fault, TableError, suggest
from paper_tables.core.text import shorten
from paper_tables.data.frame import Frame
from paper_tables.data.other_studies import AmbiguousSelection, SelectedArm, StudyFrames

Wanted = str | Mapping[str, object]


def select_arm(library: StudyFrames, wanted: Wanted) -> SelectedArm:
    """Return the arm; axes that are not named are at their part's baseline. Raises TableError with the nearest name."""
    frame = library.own
    if not isinstance(wanted, str | Mapping):
        raise wrong(frame, f'{wanted!r} is no arm: give its label, "axis=level", or a mapping of axes to levels')
    if isinstance(wanted, str):
        named = [arm for arm in frame.arms if wanted in (arm.label, f"{arm.part} {arm.label}")]
        if len(named) == 1:
            return SelectedArm(frame, named[0])
        if named:
            those = " or ".join(f'"{arm.part} {arm.label}"' for arm in named)
            raise wrong(frame, f'"{wanted}" is an arm of {len(named)} parts: write {those}')
        if "=" not in wanted:
            known = [label for arm in frame.arms for label in (arm.label, f"{arm.part} {arm.label}")]
            near = suggest(wanted, known)
            raise wrong(frame, f'no arm "{wanted}"{near if near.startswith(",") else "; `arms` lists them"}')
    chosen = _parsed(frame, wanted) if isinstance(wanted, str) else {k: _label(v) for k, v in wanted.items()}
    _check(frame, chosen)
    try:
        found = library.find({key: (label,) for key, label in chosen.items()})
    except AmbiguousSelection as several:
        raise wrong(frame, f"{_written(chosen)} {several}") from None
    if found is None:
        raise wrong(frame, f"no arm with {_written(chosen)} in these results; `arms` lists them")
    return found


def _parsed(frame: Frame, text: str) -> dict[str, str]:
    """Split ``part.axis=level, axis=level``; a leading name of a part may also stand before a space."""
    chosen: dict[str, str] = {}
    first, _, rest = text.partition(" ")
    if frame.part(first) and "=" in rest:
        chosen["part"], text = first, rest
    for piece in text.replace(",", " ").split():
        key, sign, label = piece.partition("=")
        part, dot, axis = key.rpartition(".")
        if not sign or not label:
            raise wrong(frame, f'"{piece}" is not AXIS=LEVEL')
        if dot:
            chosen["part"], key = part, axis
        chosen[key] = label
    return chosen


def _label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check(frame: Frame, chosen: Mapping[str, str]) -> None:
    """Raise for a name of nothing."""
    known = {
        "part": [part.name for part in frame.parts],
        "arm": [arm.label for arm in frame.arms],
        **{axis: _levels(frame, axis) for axis in frame.axes},
    }
    for key, label in chosen.items():
        if key not in known:
            raise wrong(frame, f"no axis {key}{suggest(key, known)}")
        if label not in known[key]:
            raise wrong(frame, f"{key}: no {label}{suggest(label, known[key])}")


def _levels(frame: Frame, axis: str) -> list[str]:
    declared = (level for part in frame.parts for each in part.axes if each.name == axis for level in each.levels)
    return list(dict.fromkeys([*declared, *(arm.coords[axis] for arm in frame.arms if axis in arm.coords)]))


def metric_of(frame: Frame, metric: str | None) -> str:
    """Return the metric, by default the study's first with a direction. Raises TableError for one that there is not."""
    declared: Iterable[str] = frame.main_metrics
    if metric is None:
        judged = [name for name in declared if frame.direction(name) != "none"] or list(declared)
        if not judged:
            raise wrong(frame, "these results have no metric")
        return judged[0]
    if not isinstance(metric, str) or not frame.has_metric(metric):
        raise wrong(frame, f"no metric {metric}{suggest(str(metric), frame.metrics)}")
    return metric


def _written(chosen: Mapping[str, str]) -> str:
    return shorten([f"{key}={label}" for key, label in chosen.items()], 6)


def wrong(frame: Frame, text: str) -> TableError:
    return TableError([Fault(frame.study, 0, 0, "", text)])
