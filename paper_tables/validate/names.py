"""Validate names against the results: studies, scales, parts, axes, levels, metrics, published rows, arms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from paper_tables.core.errors import Fault, suggest
from paper_tables.core.paths import PACKAGE
from paper_tables.core.yaml_loader import Document, Key
from paper_tables.data.curves import parse_curve_metric, slip
from paper_tables.data.frame import Axis, Frame
from paper_tables.data.other_studies import SELECTOR_KEYS, AmbiguousSelection, StudyFrames, matching_arms
from paper_tables.data.study_file import declared
from paper_tables.schema.base import Filter
from paper_tables.schema.published import ArmSelector, ArmSelectors, Published
from paper_tables.tables import published

ALIKE, SLIPS = 0.8, 3
"""Likeness of two names, from 0 to 1, from which one is taken for the other misspelt, if so few letters differ."""


def unlike_any(fault: Fault) -> bool:
    """Whether a fault is about a name that is unlike all that there are, so that it is hardly a misspelt one."""
    found = re.search(r' (?:has|have) no [\w ]+"(.*?)"(?:, did you mean "(.*?)")?', fault.message)
    if found is None:
        return " has no arm " in fault.message
    match = SequenceMatcher(None, found[1], found[2] or "")
    slips = sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in match.get_opcodes() if kind != "equal")
    return match.ratio() < ALIKE or slips > SLIPS


@dataclass(frozen=True)
class NameCheck:
    """Checks of names; each yields the faults at the given key. A frame from CSV may lack arms of the study: then only
    metrics and axes are checked."""

    document: Document
    library: StudyFrames
    frame: Frame

    def _likely(self, faults: Iterable[Fault], sure: bool = True) -> Iterator[Fault]:
        """Keep the faults of names that are nearly known ones; all where it is sure that no other scale or study has
        them. The package's own files may be newer than the results."""
        for fault in faults:
            packaged = PACKAGE in Path(fault.file).resolve().parents
            if (sure and not packaged) or not unlike_any(fault):
                yield fault

    def _known(self, names: Iterable[str], what: str, known: Iterable[str], key: Key, field: str) -> Iterator[Fault]:
        """Require that all names are known ones; `what`: what there is not."""
        there = list(known)
        for name in names:
            if name not in there:
                yield self.document.fault((*key, field), f'{what} "{name}"{suggest(name, there)}')

    def _scales(self, scales: Iterable[str], frames: Iterable[Frame | None], key: Key) -> Iterator[Fault]:
        """Require scales of these studies; None: one without results. Scales that are not run are right too."""
        known: list[str] = []
        sure = True
        for frame in frames:
            text = frame.metadata.study_text if frame else None
            found = declared(text or "").scales
            sure = sure and frame is not None and bool(text) and frame.scale in (found or ("",))
            known += [*found, *([frame.scale] if frame and frame.scale else [])]
        wrong = [scale for scale in scales if scale not in known]
        faults = (self.document.fault(key, f'the study has no scale "{s}"{suggest(s, known)}') for s in wrong)
        yield from self._likely(faults, sure)

    def _source(self, source: Published, key: Key) -> Iterator[Fault]:
        message = published.problem(source)
        if message:
            yield self.document.fault((*key, message[0]), message[1])

    def _metric(self, metrics: tuple[str, ...], frames: list[Frame], key: Key) -> Iterator[Fault]:
        """Require one of the names in one of the frames; a study without results accepts any name."""
        if frames and not any(frame.has_metric(name) for frame in frames for name in metrics):
            curves = [name for frame in frames for name in frame.curve_metrics()]
            hint = slip(metrics[0], curves) or suggest(metrics[0], [name for frame in frames for name in frame.metrics])
            yield self.document.fault(key, f'the results have no metric "{metrics[0]}"{hint}')
            return
        for name, taken in ((name, parse_curve_metric(name)) for name in metrics):
            if taken and taken.reduction == "best" and frames and all(f.direction(name) == "none" for f in frames):
                text = f"{name}: the highest or the lowest? Give {taken.metric} a direction in the study's metrics"
                yield self.document.fault(key, text)

    def _part(self, name: str, key: Key) -> Iterator[Fault]:
        names = [part.name for part in self.frame.parts]
        if self.frame.declared and name not in names:
            yield self.document.fault(key, f'the study has no part "{name}"{suggest(name, names)}')

    def _axes(self, parts: tuple[str, ...]) -> dict[str, list[Axis]]:
        found: dict[str, list[Axis]] = {}
        for part in self.frame.parts:
            for axis in part.axes if not parts or part.name in parts else ():
                found.setdefault(axis.name, []).append(axis)
        return found if self.frame.declared else {**{name: [] for name in self.frame.axes}, **found}

    def _axis(self, name: str, key: Key, parts: tuple[str, ...]) -> Iterator[Fault]:
        known = self._axes(parts)
        if name not in known:
            where = f"part {parts[0]}" if len(parts) == 1 else "study"
            yield self.document.fault(key, f'the {where} has no axis "{name}"{suggest(name, known)}')

    def _levels(self, name: str, chosen: Iterable[str], axes: list[Axis], key: Key) -> Iterator[Fault]:
        levels = [level for axis in axes for level in axis.levels]
        for level in chosen:
            if levels and level not in levels:
                hint = suggest(level, levels)
                yield self.document.fault(key, f'the axis {name} has no level "{level}"{hint}')

    def _filter(self, chosen: Filter, key: Key) -> Iterator[Fault]:
        parts = chosen.get("part", ())
        for part in parts:
            yield from self._part(part, (*key, "part"))
        known = self._axes(tuple(p for p in parts if self.frame.part(p))) if self.frame.declared else {}
        for name in chosen.keys() - {"part"}:
            yield from self._axis(name, (*key, name), parts)
            yield from self._levels(name, chosen[name], known.get(name, []), (*key, name))

    # ---- arms of this study or of others

    def _frames(self, choice: list[ArmSelector]) -> list[Frame]:
        """Return the frames that selectors use; [] if one is missing."""
        found = [
            self.library.frame(study) for study in dict.fromkeys(chosen.get("study", ("",))[0] for chosen in choice)
        ]
        return [frame for frame in found if frame is not None] if all(found) else []

    def _arms(self, choice: ArmSelectors, key: Key) -> Iterator[Fault]:
        for i, chosen in enumerate(choice):
            yield from self._arm(chosen, (*key, i) if (*key, i) in self.document.marks else key)

    def _arm(self, chosen: ArmSelector, key: Key) -> Iterator[Fault]:
        for name in SELECTOR_KEYS:
            if len(chosen.get(name, ("",))) != 1:
                yield self.document.fault((*key, name), "takes one name")
        frame = self.library.frame(chosen.get("study", ("",))[0])
        if frame is None:
            return
        wrong = list(self._selector(frame, chosen, key)) if frame.declared else []
        yield from wrong
        if wrong:
            return
        try:
            self.library.find(chosen)
        except AmbiguousSelection as error:
            yield self.document.fault(key, str(error))
            return
        run = {arm.part for arm in frame.arms}
        if frame.complete and not run.isdisjoint(chosen.get("part", run)) and not matching_arms(frame, chosen):
            selector = ", ".join(f"{name}: {'|'.join(labels)}" for name, labels in chosen.items() if name != "study")
            yield self.document.fault(key, f"the study {frame.study} has no arm with {selector or 'an empty selector'}")

    def _selector(self, frame: Frame, chosen: ArmSelector, key: Key) -> Iterator[Fault]:
        parts = [part for part in frame.parts if part.name in chosen.get("part", (part.name,))]
        if not parts:
            hint = suggest(chosen["part"][0], [part.name for part in frame.parts])
            yield self.document.fault((*key, "part"), f'the study has no part "{chosen["part"][0]}"{hint}')
        for name in (name for name in chosen if name not in SELECTOR_KEYS):
            axes = [axis for part in parts if (axis := part.axis(name))]
            if parts and not axes:
                known = [axis.name for part in parts for axis in part.axes]
                yield self.document.fault((*key, name), f'the study has no axis "{name}"{suggest(name, known)}')
            yield from self._levels(name, chosen[name], axes, (*key, name))
