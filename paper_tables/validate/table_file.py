"""Validate a table file against the frame: every part, axis, level, metric and published row must exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from paper_tables.core.errors import Fault, TableError, suggest
from paper_tables.core.yaml_loader import Document, Key
from paper_tables.data.frame import Axis, Frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.base import Entry, Filter, Reference
from paper_tables.schema.figures import FigureSpec
from paper_tables.schema.published_counts import CountTable
from paper_tables.schema.table_file import Spec
from paper_tables.schema.tables import ArmColumn, ArmTable, CrossedColumns
from paper_tables.tables import notes, published, published_counts
from paper_tables.validate import comparisons


def check(spec: Spec, document: Document, library: StudyFrames) -> None:
    """Raise TableError with all errors at once, if there are any."""
    faults = [*_Check(spec, document, library.own).faults(), *comparisons.faults(spec, document, library)]
    if faults:
        raise TableError(faults)


@dataclass(frozen=True)
class _Check:
    spec: Spec
    document: Document
    frame: Frame

    def faults(self) -> Iterator[Fault]:
        study = self.frame.study.partition("@")[0]
        if study and self.spec.study != study:
            yield self.document.fault(("study",), f'is "{self.spec.study}", the results are of "{study}"')
        yield from self._twice("tables", [t.name for t in self.spec.tables])
        yield from self._twice("figures", [f.name for f in self.spec.figures])
        for i, name in enumerate(t.name for t in self.spec.tables):
            if name == "claims" and self.spec.claims:
                yield self.document.fault(("tables", i, "name"), '"claims" is the table of the claims')
        yield from self._twice("claims", [c.name for c in self.spec.claims])
        for i, table in enumerate(self.spec.tables):
            if isinstance(table, ArmTable):
                yield from self._table(table, ("tables", i))
            elif isinstance(table, CountTable) and table.verdicts not in published_counts.groups():
                hint = suggest(table.verdicts, published_counts.groups())
                yield self.document.fault(("tables", i, "verdicts"), f'no group "{table.verdicts}" of counts{hint}')
        for i, figure in enumerate(self.spec.figures):
            yield from self._figure(figure, ("figures", i))
        if self.frame.declared:
            for part in self.spec.parts:
                yield from self._part(part, ("parts", part))

    def _twice(self, kind: str, names: list[str]) -> Iterator[Fault]:
        for i, name in enumerate(names):
            if name in names[:i]:
                yield self.document.fault((kind, i, "name"), f'"{name}" is defined twice')

    def _table(self, table: ArmTable, key: Key) -> Iterator[Fault]:
        yield from self._filter(table.filter, (*key, "filter"))
        if isinstance(table.columns, CrossedColumns):
            yield from self._crossing(table, table.columns, key)
        else:
            for i, column in enumerate(table.columns):
                yield from self._column(column, table, (*key, "columns", i))
        for part, source in table.published.items():
            yield from self._part(part, (*key, "published", part))
            message = published.problem(source)
            if message:
                yield self.document.fault((*key, "published", part, message[0]), message[1])
        for i, note in enumerate(table.notes):
            if " " not in note and note not in notes.KNOWN:
                yield self.document.fault((*key, "notes", i), f'"{note}" is no known note{suggest(note, notes.KNOWN)}')

    def _crossing(self, table: ArmTable, columns: CrossedColumns, key: Key) -> Iterator[Fault]:
        yield from self._metric(columns.metric, (*key, "columns", "metric"))
        parts = table.filter.get("part", ())
        if len(parts) != 1 and len(self.frame.parts) > 1:
            yield self.document.fault((*key, "filter"), "a table of two axes needs one part: filter: {part: …}")
        for axis, where in ((table.rows.axis, "rows"), (columns.axis, "columns")):
            yield from self._axis(axis or "", (*key, where, "axis"), parts)

    def _column(self, column: ArmColumn, table: ArmTable, key: Key) -> Iterator[Fault]:
        if column.metric is not None and not column.optional:
            yield from self._metric(column.metric, (*key, "metric"))
        if column.published is not None:
            if column.published not in published.COLUMNS:
                hint = suggest(column.published, published.COLUMNS)
                yield self.document.fault((*key, "published"), f'no published column "{column.published}"{hint}')
            if not table.published:
                yield self.document.fault((*key, "published"), "the table names no `published` rows")

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
                yield from self._metric(value, (*key, name))
            elif Reference.AXIS in field.metadata and value not in (None, "part"):
                yield from self._axis(value, (*key, name), parts)

    # ---- names. A frame from CSV may lack arms of the study: then only metrics and axes are checked.

    def _metric(self, name: str, key: Key) -> Iterator[Fault]:
        if not self.frame.has_metric(name):
            hint = suggest(name, self.frame.metrics)
            yield self.document.fault(key, f'the results have no metric "{name}"{hint}')

    def _part(self, name: str, key: Key) -> Iterator[Fault]:
        names = [part.name for part in self.frame.parts]
        if self.frame.declared and name not in names:
            yield self.document.fault(key, f'the study has no part "{name}"{suggest(name, names)}')

    def _axes(self, parts: tuple[str, ...]) -> dict[str, list[Axis]]:
        found: dict[str, list[Axis]] = {}
        for part in self.frame.parts:
            for axis in part.axes if not parts or part.name in parts else ():
                found.setdefault(axis.name, []).append(axis)
        if not self.frame.declared:
            for axis_name in self.frame.axes:
                found.setdefault(axis_name, [])
        return found

    def _axis(self, name: str, key: Key, parts: tuple[str, ...]) -> Iterator[Fault]:
        known = self._axes(parts)
        if name not in known:
            where = f"part {parts[0]}" if len(parts) == 1 else "study"
            yield self.document.fault(key, f'the {where} has no axis "{name}"{suggest(name, known)}')

    def _filter(self, chosen: Filter, key: Key) -> Iterator[Fault]:
        parts = chosen.get("part", ())
        for part in parts:
            yield from self._part(part, (*key, "part"))
        known = self._axes(tuple(p for p in parts if self.frame.part(p)))
        for name in chosen.keys() - {"part"}:
            yield from self._axis(name, (*key, name), parts)
            levels = [level for axis in known.get(name, []) for level in axis.levels]
            for level in chosen[name]:
                if self.frame.declared and levels and level not in levels:
                    hint = suggest(level, levels)
                    yield self.document.fault((*key, name), f'the axis {name} has no level "{level}"{hint}')
