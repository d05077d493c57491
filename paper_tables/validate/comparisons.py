"""Validate comparisons and claims: every study, part, axis, level, metric and published row must exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paper_tables.core.errors import Fault, suggest
from paper_tables.core.yaml_loader import Document, Key
from paper_tables.data.frame import Frame
from paper_tables.data.other_studies import SELECTOR_KEYS, AmbiguousSelection, StudyFrames, matching_arms
from paper_tables.schema.comparisons import ArmSelector, ArmSelectors, ComparisonTable, Published
from paper_tables.schema.table_file import Spec
from paper_tables.tables import comparison_notes, published


def faults(spec: Spec, document: Document, library: StudyFrames) -> Iterator[Fault]:
    checked = _Check(document, library)
    for i, table in enumerate(spec.tables):
        if isinstance(table, ComparisonTable):
            yield from checked.comparison(table, ("tables", i))
    scale = str(library.own.metadata.get("scale") or "")
    for i, claim in enumerate(spec.claims):
        if claim.published is not None:
            yield from checked.source(claim.published, ("claims", i, "published"))
        if scale and claim.scales and scale not in claim.scales:
            continue  # not tested at this scale, whose axes may have other levels
        for j, condition in enumerate(claim.conditions):
            key = ("claims", i, "conditions", j)
            yield from checked.choice(condition.of, (*key, "of"))
            yield from checked.choice(condition.against, (*key, "against"))
            frames = checked.frames([*condition.of, *condition.against])
            yield from checked.metric(condition.metric, frames, (*key, "metric"))


@dataclass(frozen=True)
class _Check:
    document: Document
    library: StudyFrames

    def comparison(self, table: ComparisonTable, key: Key) -> Iterator[Fault]:
        frames = self.frames([chosen for row in table.rows for chosen in row.measured])
        for i, row in enumerate(table.rows):
            if row.published is not None:
                yield from self.source(row.published, (*key, "rows", i, "published"))
            yield from self.choice(row.measured, (*key, "rows", i, "measured"))
        for i, column in enumerate(table.columns):
            if column.metric is not None:
                yield from self.metric(column.metric, frames, (*key, "columns", i, "metric"))
            if column.published is not None and column.published not in published.COLUMNS:
                hint = suggest(column.published, published.COLUMNS)
                message = f'no published column "{column.published}"{hint}'
                yield self.document.fault((*key, "columns", i, "published"), message)
        for i, note in enumerate(table.notes):
            if " " not in note and note not in comparison_notes.KNOWN:
                hint = suggest(note, comparison_notes.KNOWN)
                yield self.document.fault((*key, "notes", i), f'"{note}" is no known note{hint}')

    def source(self, source: Published, key: Key) -> Iterator[Fault]:
        message = published.problem(source)
        if message:
            yield self.document.fault((*key, message[0]), message[1])

    def frames(self, choice: list[ArmSelector]) -> list[Frame]:
        """Return the frames that selectors use; [] if one is missing."""
        studies = dict.fromkeys(chosen["study"][0] if "study" in chosen else "" for chosen in choice)
        found = [self.library.frame(study) for study in studies]
        return [frame for frame in found if frame is not None] if all(found) else []

    def metric(self, metrics: tuple[str, ...], frames: list[Frame], key: Key) -> Iterator[Fault]:
        """Require one of the names in one of the frames; a study without results accepts any name."""
        if frames and not any(frame.has_metric(name) for frame in frames for name in metrics):
            known = [name for frame in frames for name in frame.metrics]
            hint = suggest(metrics[0], known)
            yield self.document.fault(key, f'the results have no metric "{metrics[0]}"{hint}')

    def choice(self, choice: ArmSelectors, key: Key) -> Iterator[Fault]:
        for i, chosen in enumerate(choice):
            place = (*key, i) if (*key, i) in self.document.marks else key
            yield from self._chosen(chosen, place)

    def _chosen(self, chosen: ArmSelector, key: Key) -> Iterator[Fault]:
        for name in SELECTOR_KEYS:
            if len(chosen.get(name, ("",))) != 1:
                yield self.document.fault((*key, name), "takes one name")
        frame = self.library.frame(chosen["study"][0] if "study" in chosen else "")
        if frame is None:
            return
        wrong = list(self._names(frame, chosen, key)) if frame.declared else []
        yield from wrong
        if wrong:
            return
        try:
            self.library.find(chosen)
        except AmbiguousSelection as error:
            yield self.document.fault(key, str(error))
            return
        if _complete(frame) and not matching_arms(frame, chosen):
            selector = ", ".join(f"{name}: {'|'.join(labels)}" for name, labels in chosen.items() if name != "study")
            yield self.document.fault(key, f"the study {frame.study} has no arm with {selector or 'an empty selector'}")

    def _names(self, frame: Frame, chosen: ArmSelector, key: Key) -> Iterator[Fault]:
        parts = [part for part in frame.parts if part.name in chosen.get("part", (part.name,))]
        if not parts:
            hint = suggest(chosen["part"][0], [part.name for part in frame.parts])
            yield self.document.fault((*key, "part"), f'the study has no part "{chosen["part"][0]}"{hint}')
        for name in (name for name in chosen if name not in SELECTOR_KEYS):
            axes = [axis for part in parts if (axis := part.axis(name))]
            if parts and not axes:
                known = [axis.name for part in parts for axis in part.axes]
                yield self.document.fault((*key, name), f'the study has no axis "{name}"{suggest(name, known)}')
            levels = [level for axis in axes for level in axis.levels]
            for level in chosen[name]:
                if levels and level not in levels:
                    hint = suggest(level, levels)
                    yield self.document.fault((*key, name), f'the axis {name} has no level "{level}"{hint}')


def _complete(frame: Frame) -> bool:
    """Return whether every level of every axis occurs: then a missing arm is not in the design."""
    arms = frame.arms
    taken = {(arm.part, axis, level) for arm in arms for axis, level in arm.coords.items()}
    declared = {(part.name, axis.name, level) for part in frame.parts for axis in part.axes for level in axis.levels}
    return frame.declared and bool(arms) and declared <= taken
