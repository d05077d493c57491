"""Validate names against the results: studies, parts, axes, levels, metrics, published rows, arms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paper_tables.core.errors import Fault, suggest
from paper_tables.core.yaml_loader import Document, Key
from paper_tables.data.curves import parse_curve_metric
from paper_tables.data.frame import Axis, Frame
from paper_tables.data.other_studies import SELECTOR_KEYS, AmbiguousSelection, StudyFrames, matching_arms
from paper_tables.schema.base import Filter
from paper_tables.schema.published import ArmSelector, ArmSelectors, Published
from paper_tables.tables import published


@dataclass(frozen=True)
class NameCheck:
    """Checks of names; each yields the faults at the given key. A frame from CSV may lack arms of the study: then only
    metrics and axes are checked."""

    document: Document
    library: StudyFrames
    frame: Frame

    def _source(self, source: Published, key: Key) -> Iterator[Fault]:
        message = published.problem(source)
        if message:
            yield self.document.fault((*key, message[0]), message[1])

    def _metric(self, metrics: tuple[str, ...], frames: list[Frame], key: Key) -> Iterator[Fault]:
        """Require one of the names in one of the frames; a study without results accepts any name."""
        if frames and not any(frame.has_metric(name) for frame in frames for name in metrics):
            hint = suggest(metrics[0], [name for frame in frames for name in frame.metrics])
            yield self.document.fault(key, f'the results have no metric "{metrics[0]}"{hint}')
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
