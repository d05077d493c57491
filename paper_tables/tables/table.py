"""A table from its entry in the table file. In a list of arms and in a comparison each cell is measured,
published, or a difference to the baseline or to the published number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from paper_tables.data.directions import COUNTED_METRICS, usual_direction
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.published import Incomparable
from paper_tables.schema.tables import ArmColumn, ArmTable, ComparisonColumn, ComparisonTable, CountTable, Show
from paper_tables.tables import count_table, crossed_table, notes, published
from paper_tables.tables.cell_values import Measure, mark_best
from paper_tables.tables.grid import Cell, Grid, Head, NoData, Row
from paper_tables.tables.labels import Names, fill_unit, with_unit
from paper_tables.tables.lines import Line, arm_lines, comparison_lines

SOURCES = {"published": "paper", "measured": "ours", "difference": "diff.", "percent": "diff. %"}
"""Column heads of a comparison."""
SPREADS: dict[str, Show] = {"none": "mean", "sd": "mean_sd", "ci": "mean_ci"}


def build(table: ArmTable | ComparisonTable | CountTable, names: Names, library: StudyFrames) -> Grid:
    """Return any table of a table file. Raises NoData if it has no number."""
    if isinstance(table, CountTable):
        return count_table.build(table, names)
    if isinstance(table, ArmTable) and table.rows.axis is not None:
        return crossed_table.build(table, names)
    return _listed(table, names, library)


def _listed(table: ArmTable | ComparisonTable, names: Names, library: StudyFrames) -> Grid:
    numbers: list[_Numbers]
    if isinstance(table, ArmTable):
        words, lines = arm_lines(table, names)
        numbers = [_OfArms(lines, names, c) for c in table.columns if isinstance(c, ArmColumn) and _known(c, lines)]
        used, counts, others = [line.found[0] for line in lines], _trials(lines), {}
    else:
        words, lines = comparison_lines(table, names, library)
        numbers = [_Compared(lines, names, c, table.incomparable) for c in table.columns if c.text is None]
        used = [got.found for column in numbers for got in column.measured if got]
        counts, others = _values(numbers, len(lines)) if used else [], library.others()
    body = [(Head("n", kind="count"), counts)] if counts else []
    body += [filled for column in numbers for filled in column.filled()]
    if all(cell.empty for _, cells in body for cell in cells):
        raise NoData("neither a published nor a measured number")
    heads = [*(Head(word, kind="text") for word in words), *(head for head, _ in body)]
    rows = [
        Row((*(Cell(text=text) for text in line.texts), *(cells[i] for _, cells in body)), line.group, line.rule)
        for i, line in enumerate(lines)
    ]
    grid = Grid(table.name, table.label, table.caption, tuple(heads), rows, width=table.width)
    papers, rebuilt = [line.paper for line in lines], [line.rebuilt for line in lines]
    return notes.finish(grid, table, names, used, rebuilt, papers, others)


def _known(column: ArmColumn, lines: list[Line]) -> bool:
    """Keep an optional column only if an arm of the table has a value of its metric."""
    if column.metric is None or not column.optional:
        return True
    return any(one.frame.values(one.arm, column.metric) for line in lines for one in line.found)


# ---- the column n


def _trials(lines: list[Line]) -> list[Cell]:
    """Return the finished trials of each arm, and the planned ones if some are missing."""
    cells = []
    for one in (line.found[0] for line in lines):
        done, planned = len(one.trials), len(one.arm.rows)
        text = f"{done}" if done == planned else f"{done}/{planned}"
        cells.append(Cell(text=text, note=one.frame.unfinished([one.arm]), n=done))
    return cells


def _values(columns: list[_Numbers], rows: int) -> list[Cell]:
    """Return n of the sampled metrics; of the deterministic ones if nothing else was measured."""
    cells = []
    for i in range(rows):
        found = [got for column in columns if (got := column.measured[i])]
        sampled = [got.summary.n for got in found if got.metric not in COUNTED_METRICS]
        n = max(sampled or [got.summary.n for got in found], default=0)
        cells.append(Cell(text=str(n) if found else "", n=n))
    return cells


# ---- columns of numbers


class _Numbers(ABC):
    """A column of the table file over all lines; it becomes one column of the table per source of its cells."""

    column: ArmColumn | ComparisonColumn
    sources: tuple[str, ...]
    direction: str
    """Whether the best of the cells is their "max" or "min"; "none": neither."""

    def __init__(self, lines: list[Line], names: Names, metrics: tuple[str, ...], show: Show, factor: float | None):
        self.lines, self.names = lines, names
        self.measure = Measure.of(names, [line.found for line in lines], metrics, show, self.column, factor)
        self.measured = [self.measure.find(line.found) for line in lines]

    @abstractmethod
    def head(self, source: str, cells: list[Cell]) -> Head: ...

    @abstractmethod
    def cell(self, source: str, i: int) -> Cell: ...

    def published(self, i: int) -> Cell:
        line = self.lines[i]
        return published.cell(line.paper, self.column.published or "", line.source) if line.source else Cell()

    def filled(self) -> Iterator[tuple[Head, list[Cell]]]:
        for source in self.sources:
            cells = [self.cell(source, i) for i in range(len(self.lines))]
            if self.column.best == "bold" and source in ("published", "measured"):
                self._mark_best(cells)
            yield self.head(source, cells), cells

    def _mark_best(self, cells: list[Cell]) -> None:
        scopes = ["" if self.column.within == "table" else line.scope for line in self.lines]
        for _, scope in groupby(zip(scopes, cells, strict=True), key=itemgetter(0)):
            mark_best([cell for _, cell in scope], self.direction)


class _OfArms(_Numbers):
    column: ArmColumn

    def __init__(self, lines: list[Line], names: Names, column: ArmColumn):
        self.column = column
        self.sources = ("measured",) if column.metric else ("published",)
        self.direction = names.frame.direction(column.metric or "")
        unscaled = not column.metric or (column.head and "{unit}" not in column.head)
        metrics = (column.metric,) if column.metric else ()
        super().__init__(lines, names, metrics, column.show, 1.0 if unscaled else None)

    def head(self, source: str, cells: list[Cell]) -> Head:
        unit, metric = self.measure.unit, self.column.metric
        default = with_unit(self.names.metric(metric).head, "{unit}" if unit else "") if metric else "Paper"
        text, over = (fill_unit(text or "", unit) for text in (self.column.head or default, self.column.over))
        better = "none" if self.column.show == "mcnemar" else self.direction
        return Head(text, self.measure.under(cells), over=over, better=better)

    def cell(self, source: str, i: int) -> Cell:
        if source == "published":
            return self.published(i)
        cell = self.measure.cell(self.lines[i].found[0])
        return replace(cell, p=None) if self.column.mark == "none" else cell


class _Compared(_Numbers):
    column: ComparisonColumn

    def __init__(self, lines: list[Line], names: Names, column: ComparisonColumn, rules: tuple[Incomparable, ...]):
        self.column, self.sources, self.rules = column, column.parts(), rules
        metrics = column.metric or ()
        super().__init__(lines, names, metrics, SPREADS[column.spread], column.factor)
        self.named = {*metrics, column.published}
        usual = [usual_direction(name) for name in (*metrics, column.published) if name]
        known = (got.found.frame.direction(metric) for metric in metrics for got in self.measured if got)
        self.direction = next((direction for direction in (*known, *usual) if direction != "none"), "none")

    def head(self, source: str, cells: list[Cell]) -> Head:
        column = self.column
        over = column.head or self.names.metric(column.metric[0] if column.metric else column.published or "").head
        sub = self.measure.under(cells).replace("mean ", "") if source == "measured" else ""
        if len(self.sources) > 1:
            return Head(SOURCES[source], sub, over=over, over_better=self.direction)
        return Head(f"{over}, paper" if source == "published" else over, sub, better=self.direction)

    def cell(self, source: str, i: int) -> Cell:
        printed, got = self._printed(i), self.measured[i]
        if source == "published":
            return printed
        if got is None:
            return Cell()
        cell = self.measure.mean(got)
        if source == "measured":
            planned = len(got.found.arm.rows)
            cell.note = f"n = {cell.n} of {planned} trials" if cell.n < planned else ""
            return cell
        return self._difference(cell, printed, source == "percent")

    def _difference(self, cell: Cell, printed: Cell, percent: bool) -> Cell:
        if printed.value is None or cell.value is None:
            return Cell()
        difference = cell.value - printed.value
        equal = not printed.grey and abs(difference) <= 0.5 * 10.0**-printed.digits * (1 + 1e-9)
        return replace(
            cell, value=100 * (cell.value / printed.value - 1) if percent and printed.value else difference,
            spread=None, digits=1 if percent else max(cell.digits, printed.digits), signed=True, grey=printed.grey,
            note="" if "published" in self.sources else printed.note, text="=" if equal else "", origin=printed.origin,
        )  # fmt: skip

    def _printed(self, i: int) -> Cell:
        """Return the published number, in gray with the reason if it cannot be compared with the measured one."""
        cell, why = self.published(i), self._incomparable(i)
        if not cell.empty and why and not cell.grey:
            cell.grey, cell.note = True, "; ".join([*([cell.note] if cell.note else []), f"not comparable: {why}"])
        return cell

    def _incomparable(self, i: int) -> str:
        got = self.measured[i]
        if got is None:
            return ""
        rules = (*self.lines[i].incomparable, *self.rules)
        scale = got.found.frame.scale
        return next((r.why for r in rules if self.named & {*r.metrics} and (not r.scales or scale in r.scales)), "")
