"""Validate a table file against the results: every study, part, axis, level, metric and published row must exist."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paper_tables.core.errors import Fault, TableError, suggest
from paper_tables.core.yaml_loader import Document, Key
from paper_tables.data.frame import Axis, Frame
from paper_tables.data.other_studies import SELECTOR_KEYS, AmbiguousSelection, StudyFrames, matching_arms
from paper_tables.schema.base import Entry, Filter, Reference
from paper_tables.schema.claims import Claim, Condition, Control
from paper_tables.schema.figures import FigureSpec
from paper_tables.schema.published import ArmSelector, ArmSelectors, Published
from paper_tables.schema.table_file import Spec
from paper_tables.schema.tables import (
    ArmColumn,
    ArmTable,
    ComparisonColumn,
    ComparisonTable,
    CountTable,
    CrossedColumns,
)
from paper_tables.tables import published
from paper_tables.tables.labels import METRICS

CLAIM_TABLES = ("claims", "claim_tests")


def check(spec: Spec, document: Document, library: StudyFrames) -> None:
    """Raise TableError with all errors at once, if there are any."""
    faults = list(_Check(spec, document, library, library.own).faults())
    if faults:
        raise TableError(faults)


def _added_later(fault: Fault) -> bool:
    """Whether a claim may mean it: a name unlike those of these results may be of an arm that the study has had since;
    the claim is then not run. One that is nearly theirs is misspelt."""
    return bool(re.search(r" (has|have) no ", fault.message)) and "did you mean" not in fault.message


@dataclass(frozen=True)
class _Check:
    spec: Spec
    document: Document
    library: StudyFrames
    frame: Frame

    def faults(self) -> Iterator[Fault]:
        study = self.frame.study.partition("@")[0]
        if study and self.spec.study != study:
            yield self.document.fault(("study",), f'is "{self.spec.study}", the results are of "{study}"')
        entries = {"tables": self.spec.tables, "figures": self.spec.figures, "claims": self.spec.claims}
        for kind, found in entries.items():
            seen: set[str] = set()
            for i, name in enumerate(entry.name for entry in found):
                if name in seen:
                    yield self.document.fault((kind, i, "name"), f'"{name}" is defined twice')
                seen.add(name)
                if kind == "tables" and name in CLAIM_TABLES and self.spec.claims:
                    yield self.document.fault((kind, i, "name"), f'"{name}" is a table of the claims')
        for i, table in enumerate(self.spec.tables):
            yield from self._table(table, ("tables", i))
        for i, figure in enumerate(self.spec.figures):
            yield from self._figure(figure, ("figures", i))
        for i, claim in enumerate(self.spec.claims):
            yield from self._claim(claim, ("claims", i))
        for part in self.spec.parts:
            yield from self._part(part, ("parts", part))

    # ---- entries

    def _table(self, table: ArmTable | ComparisonTable | CountTable, key: Key) -> Iterator[Fault]:
        if isinstance(table, CountTable):
            groups = list(dict.fromkeys(row.group for row in published.count_sources() if row.group))
            if table.verdicts not in groups:
                hint = suggest(table.verdicts, groups)
                yield self.document.fault((*key, "verdicts"), f'no group "{table.verdicts}" of counts{hint}')
            return
        yield from self._arm_table(table, key) if isinstance(table, ArmTable) else self._comparison(table, key)
        for i, note in enumerate(table.notes):
            if " " not in note and note not in table.known_notes:
                hint = suggest(note, table.known_notes)
                yield self.document.fault((*key, "notes", i), f'"{note}" is no known note{hint}')

    def _arm_table(self, table: ArmTable, key: Key) -> Iterator[Fault]:
        yield from self._filter(table.filter, (*key, "filter"))
        if isinstance(table.columns, CrossedColumns):
            yield from self._crossing(table, table.columns, key)
        else:
            for i, column in enumerate(table.columns):
                required = () if column.metric is None or column.optional else (column.metric,)
                yield from self._column(column, required, [self.frame], (*key, "columns", i))
                if column.published is not None and not table.published:
                    place = (*key, "columns", i, "published")
                    yield self.document.fault(place, "the table names no `published` rows")
        for part, source in table.published.items():
            yield from self._part(part, (*key, "published", part))
            yield from self._source(source, (*key, "published", part))

    def _crossing(self, table: ArmTable, columns: CrossedColumns, key: Key) -> Iterator[Fault]:
        yield from self._metric((columns.metric,), [self.frame], (*key, "columns", "metric"))
        parts = table.filter.get("part", ())
        if len(parts) != 1 and len(self.frame.parts) > 1:
            yield self.document.fault((*key, "filter"), "a table of two axes needs one part: filter: {part: …}")
        for axis, where in ((table.rows.axis, "rows"), (columns.axis, "columns")):
            yield from self._axis(axis or "", (*key, where, "axis"), parts)

    def _comparison(self, table: ComparisonTable, key: Key) -> Iterator[Fault]:
        frames = self._frames([chosen for row in table.rows for chosen in row.measured])
        for i, row in enumerate(table.rows):
            if row.published is not None:
                yield from self._source(row.published, (*key, "rows", i, "published"))
            yield from self._arms(row.measured, (*key, "rows", i, "measured"))
        for i, column in enumerate(table.columns):
            yield from self._column(column, column.metric or (), frames, (*key, "columns", i))

    def _column(
        self, column: ArmColumn | ComparisonColumn, metrics: tuple[str, ...], frames: list[Frame], key: Key
    ) -> Iterator[Fault]:
        if metrics:
            yield from self._metric(metrics, frames, (*key, "metric"))
        if column.published is not None and column.published not in published.COLUMNS:
            hint = suggest(column.published, published.COLUMNS)
            yield self.document.fault((*key, "published"), f'no published column "{column.published}"{hint}')

    def _figure(self, figure: FigureSpec, key: Key) -> Iterator[Fault]:
        parts = figure.filter.get("part", ())
        yield from self._filter(figure.filter, (*key, "filter"))
        yield from self._references(figure, key, parts)
        for i, panel in enumerate(getattr(figure, "panels", ())):
            place = (*key, "panels", i)
            yield from self._filter(panel.filter, (*place, "filter"))
            yield from self._references(panel, place, panel.filter.get("part", parts))

    def _references(self, entry: Entry, key: Key, parts: tuple[str, ...]) -> Iterator[Fault]:
        """Check the fields that are declared as `MetricRef` or `AxisRef`; `part` may be used as an axis of colors."""
        for name, field in type(entry).model_fields.items():
            value = getattr(entry, name)
            if Reference.METRIC in field.metadata:
                yield from self._metric((value,), [self.frame], (*key, name))
            elif Reference.AXIS in field.metadata and value not in (None, "part"):
                yield from self._axis(value, (*key, name), parts)

    def _claim(self, claim: Claim, key: Key) -> Iterator[Fault]:
        if claim.published is not None:
            yield from self._source(claim.published, (*key, "published"))
        for j, condition in enumerate(claim.conditions):
            scales = claim.whole(condition).scales
            if condition.shown_by or (self.frame.scale and scales and self.frame.scale not in scales):
                continue  # not tested at this scale, whose axes may have other levels
            place = (*key, "conditions", j)
            faults = list(self._quantity(condition, place))
            for k, control in enumerate(condition.controls):
                faults += self._quantity(control, (*place, "controls", k))
            yield from (fault for fault in faults if not _added_later(fault))

    def _quantity(self, quantity: Condition | Control, key: Key) -> Iterator[Fault]:
        yield from self._arms(quantity.of, (*key, "of"))
        yield from self._arms(quantity.against, (*key, "against"))
        for name, arms in (("metric", quantity.of), ("against_metric", quantity.against)):
            metrics = getattr(quantity, name, None)
            if metrics and not set(metrics) & METRICS.keys():  # these the suite has, if not yet these results
                yield from self._metric(metrics, self._frames([*arms]), (*key, name))

    # ---- names. A frame from CSV may lack arms of the study: then only metrics and axes are checked.

    def _source(self, source: Published, key: Key) -> Iterator[Fault]:
        message = published.problem(source)
        if message:
            yield self.document.fault((*key, message[0]), message[1])

    def _metric(self, metrics: tuple[str, ...], frames: list[Frame], key: Key) -> Iterator[Fault]:
        """Require one of the names in one of the frames; a study without results accepts any name."""
        if frames and not any(frame.has_metric(name) for frame in frames for name in metrics):
            hint = suggest(metrics[0], [name for frame in frames for name in frame.metrics])
            yield self.document.fault(key, f'the results have no metric "{metrics[0]}"{hint}')

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
        if frame.complete and not matching_arms(frame, chosen):
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
