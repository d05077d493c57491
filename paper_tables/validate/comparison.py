"""Names in a comparison: arms, metrics, published columns, what is incomparable, how it is sorted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from paper_tables.core.errors import Fault
from paper_tables.core.text import placeholders
from paper_tables.core.yaml_loader import Key
from paper_tables.data.frame import Frame
from paper_tables.schema.published import Incomparable
from paper_tables.schema.tables import ArmColumn, ComparisonColumn, ComparisonTable
from paper_tables.tables import published
from paper_tables.validate.names import ALIKE, NameCheck


@dataclass(frozen=True)
class ComparisonCheck(NameCheck):
    def _comparison(self, table: ComparisonTable, key: Key) -> Iterator[Fault]:
        frames = self._frames([chosen for row in table.rows for chosen in row.measured])
        heads = [next(iter(published.rows(row.published.file)), {}) if row.published else {} for row in table.rows]
        texts = [column.text for column in table.columns if column.text is not None]
        for i, row in enumerate(table.rows):
            place = (*key, "rows", i)
            if row.published is not None:
                yield from self._source(row.published, (*place, "published"))
            yield from self._arms(row.measured, (*place, "measured"))
            yield from self._known(row.words, "the table has no text column", texts, place, "words")
            columns = (*published.KEYS, *published.COLUMNS)
            filled = [name for name in placeholders(row.label) if get_close_matches(name, columns, cutoff=ALIKE)]
            yield from self._known(filled, "the published row has no column", heads[i], place, "label")
            yield from self._incomparable(table, row.incomparable, place)
        yield from self._incomparable(table, table.incomparable, key)
        for i, column in enumerate(table.columns):
            yield from self._column(column, column.metric or (), frames, (*key, "columns", i))
            known = {name: "" for source in (*heads, *(row.words for row in table.rows)) for name in source}
            text = () if column.text is None else (column.text,)
            yield from self._known(text, "no row has words or a published column", known, (*key, "columns", i), "text")
        if table.sort and table.sort.of == "measured":
            yield from self._metric((table.sort.by,), frames, (*key, "sort", "by"))
        elif table.sort:
            by = (table.sort.by,)
            yield from self._known(by, "no published column", published.COLUMNS, (*key, "sort"), "by")

    def _incomparable(self, table: ComparisonTable, rules: tuple[Incomparable, ...], key: Key) -> Iterator[Fault]:
        """Require metrics of the table's columns: a rule of any other marks nothing."""
        known = [name for column in table.columns for name in (*(column.metric or ()), column.published) if name]
        studies = dict.fromkeys(chosen.get("study", ("",))[0] for row in table.rows for chosen in row.measured)
        for i, rule in enumerate(rules):
            place = (*key, "incomparable", i)
            yield from self._known(rule.metrics, "the table has no column of", known, place, "metrics")
            yield from self._scales(rule.scales, map(self.library.frame, ["", *studies]), (*place, "scales"))

    def _column(
        self, column: ArmColumn | ComparisonColumn, metrics: tuple[str, ...], frames: list[Frame], key: Key
    ) -> Iterator[Fault]:
        if metrics:
            yield from self._metric(metrics, frames, (*key, "metric"))
        filled = ("unit",) if isinstance(column, ArmColumn) else ()
        for field in ("head", "over"):
            yield from self._known(
                placeholders(getattr(column, field, "")), "a head has no place for", filled, key, field
            )
        if column.published is not None:
            yield from self._known((column.published,), "no published column", published.COLUMNS, key, "published")
