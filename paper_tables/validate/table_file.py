"""Validate a table file against the results: every study, scale, part, axis, level, metric and published row exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paper_tables.core.errors import Fault, TableError, suggest
from paper_tables.core.paths import CLAIMS, PACKAGE
from paper_tables.core.text import placeholders
from paper_tables.core.yaml_loader import Document, Key
from paper_tables.data.directions import usual_direction
from paper_tables.data.layer_pairs import PAIR
from paper_tables.data.other_studies import AmbiguousSelection, StudyFrames
from paper_tables.schema.base import Entry, Reference
from paper_tables.schema.claims import Claim, Condition, Control
from paper_tables.schema.figures import FigureSpec, PanelFigure
from paper_tables.schema.table_file import Spec
from paper_tables.schema.tables import ArmTable, ComparisonTable, CountTable, CrossedColumns
from paper_tables.tables import published
from paper_tables.tables.labels import METRICS
from paper_tables.validate.comparison import ComparisonCheck
from paper_tables.validate.labels import LabelCheck
from paper_tables.validate.names import unlike_any

CLAIM_TABLES = ("claims", "claim_tests")
CAPTION = ("n", "title")
"""What is filled in where a table's caption has it in braces."""


def check(spec: Spec, document: Document, library: StudyFrames) -> None:
    """Raise TableError with all errors at once, if there are any."""
    faults = list(_Check(document, library, library.own, spec).faults())
    if faults:
        raise TableError(faults)


@dataclass(frozen=True)
class _Check(LabelCheck, ComparisonCheck):
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
                if kind == "tables" and name.startswith(CLAIM_TABLES) and self.spec.claims:
                    yield self.document.fault((kind, i, "name"), f'"{name}" is a table of the claims')
        for i, table in enumerate(self.spec.tables):
            yield from self._table(table, ("tables", i))
            yield from self._caption(table.caption, () if isinstance(table, CountTable) else CAPTION, ("tables", i))
        for i, figure in enumerate(self.spec.figures):
            yield from self._figure(figure, ("figures", i))
            yield from self._caption(figure.caption, (), ("figures", i))
        for i, claim in enumerate(self.spec.claims):
            yield from self._claim(claim, ("claims", i))
        yield from self._label_names()

    # ---- entries

    def _caption(self, caption: str, filled: tuple[str, ...], key: Key) -> Iterator[Fault]:
        yield from self._known(placeholders(caption), "the caption has no place for", filled, key, "caption")

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

    def _figure(self, figure: FigureSpec, key: Key) -> Iterator[Fault]:
        parts = figure.filter.get("part", ())
        yield from self._filter(figure.filter, (*key, "filter"))
        yield from self._references(figure, key, parts)
        if isinstance(figure, PanelFigure):
            yield from self._likely(self._logged(figure, key), sure=False)  # another scale or arm may log it
        for i, panel in enumerate(getattr(figure, "panels", ())):
            place = (*key, "panels", i)
            inner = getattr(panel, "filter", {})
            yield from self._filter(inner, (*place, "filter"))
            yield from self._references(panel, place, inner.get("part", parts))

    def _logged(self, figure: PanelFigure, key: Key) -> Iterator[Fault]:
        """Require a metric that is logged: as it is, once per layer, or for pairs of layers."""
        known = self.frame.curve_metrics()
        if figure.kind != "curves":
            end = re.compile(r"\d+$" if figure.kind == "layers" else f"{PAIR.pattern}$")
            known = list(dict.fromkeys(end.sub("", name) for name in known if end.search(name)))
        if known:
            yield from self._known((figure.metric,), "the results have no metric", known, key, "metric")

    def _references(self, entry: Entry, key: Key, parts: tuple[str, ...]) -> Iterator[Fault]:
        """Check the fields that are declared as `MetricRef` or `AxisRef`; `part` may be used as an axis of colors."""
        for name, field in type(entry).model_fields.items():
            value = getattr(entry, name)
            if Reference.METRIC in field.metadata:
                for metric in (value,) if isinstance(value, str) else value:
                    yield from self._metric((metric,), [self.frame], (*key, name))
            elif Reference.AXIS in field.metadata and value not in (None, "part"):
                yield from self._axis(value, (*key, name), parts)

    def _claim(self, claim: Claim, key: Key) -> Iterator[Fault]:
        if claim.published is not None:
            yield from self._source(claim.published, (*key, "published"))
        others = [self.library.frame(condition.study) for condition in claim.conditions]
        yield from self._scales(claim.scales, [self.frame, *others], (*key, "scales"))
        for j, condition in enumerate(claim.conditions):
            yield from self._scales(condition.scales, [self.frame, others[j]], (*key, "conditions", j, "scales"))
            scales = claim.whole(condition).scales
            if condition.shown_by or (self.frame.scale and scales and self.frame.scale not in scales):
                continue  # not tested at this scale, whose axes may have other levels
            place = (*key, "conditions", j)
            yield from self._quantity(condition, place)
            for k, control in enumerate(condition.controls):
                yield from self._quantity(control, (*place, "controls", k))

    def _quantity(self, quantity: Condition | Control, key: Key) -> Iterator[Fault]:
        """Check a condition or control. Controls, arms of other studies, and what the package's own claims name may be
        newer than these results: then they are not run, unless their name is nearly one that there is."""
        newer = isinstance(quantity, Control) or any("study" in arm for arm in (*quantity.of, *quantity.against))
        for fault in self._names_of(quantity, key):
            if not ((newer or Path(fault.file).resolve() == PACKAGE / CLAIMS) and unlike_any(fault)):
                yield fault

    def _names_of(self, quantity: Condition | Control, key: Key) -> Iterator[Fault]:
        yield from self._arms(quantity.of, (*key, "of"))
        yield from self._arms(quantity.against, (*key, "against"))
        if self._same(quantity):
            yield self.document.fault((*key, "against"), "is the same arm as `of`")
        for name, arms in (("metric", quantity.of), ("against_metric", quantity.against)):
            metrics = getattr(quantity, name, None)
            if metrics and not set(metrics) & METRICS.keys():  # these the suite has, if not yet these results
                yield from self._metric(metrics, self._frames([*arms]), (*key, name))
        if isinstance(quantity, Condition) and quantity.non_inferior is not None:
            yield from self._margin(quantity, key)

    def _margin(self, condition: Condition, key: Key) -> Iterator[Fault]:
        """Refuse a margin below `against` for what is worse when it is higher: everything worse would pass."""
        frames, metrics = self._frames([*condition.of]), condition.metric or ()
        found = next((name for name in metrics if any(frame.has_metric(name) for frame in frames)), None)
        given = {frame.direction(found) for frame in frames} - {"none"} if found else set()
        if found and (given or {usual_direction(found)}) == {"min"}:
            text = f"is at most so much below, and of {found} lower is better: give at_most: {condition.non_inferior:g}"
            yield self.document.fault((*key, "non_inferior"), text)

    def _same(self, quantity: Condition | Control) -> bool:
        """Whether both sides are one arm by one metric, which is never a claim; a control may be of two such."""
        if isinstance(quantity, Control) or not quantity.against or quantity.against_metric:
            return False
        try:
            of, against = self.library.all(quantity.of), self.library.all(quantity.against)
        except AmbiguousSelection:
            return False
        return bool(of) and [(id(one.frame), one.arm) for one in of] == [(id(one.frame), one.arm) for one in against]
