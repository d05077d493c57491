"""A table of two axes: rows and columns are levels, cells one metric; margins show differences and interaction."""

from __future__ import annotations

from paper_tables.data.other_studies import SelectedArm
from paper_tables.schema.tables import ArmTable, CrossedColumns
from paper_tables.tables import notes
from paper_tables.tables.cell_values import Measure, interaction, mark_best
from paper_tables.tables.grid import Cell, Grid, Head, NoData, Row
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.lines import rebuilt_name
from paper_tables.tables.select_arms import crossed_arms, levels


def build(table: ArmTable, names: Names) -> Grid:
    """Return the table. Raises NoData if none of its arms has a finished trial, or all are at one level of an axis."""
    columns = table.columns
    if not isinstance(columns, CrossedColumns) or table.rows.axis is None:
        raise TypeError("a list of columns is no table of two axes")
    cross = _Cross(table, columns, table.rows.axis, names)
    rows = [Row((Cell(text=names.level(cross.down, level)), *cross.line(level))) for level in cross.downs]
    if table.margins == "difference" and len(cross.downs) == 2:
        rows.append(cross.bottom())
    cross.say_how_many(rows)
    if columns.best == "bold":
        inner = [c for row in rows[: len(cross.downs)] for c in row.cells[1 : 1 + len(cross.acrosses)]]
        mark_best([c for c in inner if not c.signed], names.frame.direction(columns.metric))
    grid = Grid(table.name, table.label, table.caption, cross.heads(rows), rows, width=table.width)
    return notes.finish(grid, table, names, cross.arms, [rebuilt_name(names, one.arm.part) for one in cross.arms])


class _Cross:
    """The levels of both axes and the arms at their crossings; `margin`: with a column of differences."""

    def __init__(self, table: ArmTable, columns: CrossedColumns, down: str, names: Names) -> None:
        frame, across = names.frame, columns.axis
        arms = crossed_arms(frame, table.filter, (down, across))
        self.downs, self.acrosses = (levels(frame, arms, axis, table.filter) for axis in (down, across))
        arms = [arm for arm in arms if down in arm.coords or (across in arm.coords and self.downs)]
        if not self.downs or not self.acrosses or not any(frame.finished_trials(arm) for arm in arms):
            raise NoData("no trial of these two axes has finished")
        for axis, found in ((down, self.downs), (across, self.acrosses)):
            if len(found) == 1 and table.filter.get(axis) != tuple(found):
                raise NoData(f"one level of {axis} alone was run, {found[0]}: nothing is crossed")
        self.names, self.down, self.across = names, down, across
        self.arms = [SelectedArm(frame, arm) for arm in arms]
        self.measure = Measure.of(names, [[one] for one in self.arms], (columns.metric,), columns.show, columns)
        self.margin = table.margins == "difference" and len(self.acrosses) == 2

    def heads(self, rows: list[Row]) -> tuple[Head, ...]:
        cells, names = [cell for row in rows for cell in row.cells], self.names
        over = f"{names.axis(self.across)}: {with_unit(names.metric(self.measure.metrics[0]).head, self.measure.unit)}"
        heads = [Head(names.axis(self.down), kind="text")]
        better = names.frame.direction(self.measure.metrics[0])
        heads += [
            Head(names.level(self.across, a), self.measure.under(cells), over=over, over_better=better)
            for a in self.acrosses
        ]
        if self.margin:
            spread = any(cell.spread is not None for cell in cells if cell.signed)
            under = f"± {100 * self.measure.level:g} % CI" if spread else ""
            heads.append(Head(self._minus(self.across, self.acrosses), under))
        return tuple(heads)

    def find(self, down: str, across: str) -> SelectedArm | None:
        """Return the arm at a crossing; an arm in which one axis is inert is at every level of it."""
        for one in self.arms:
            coords = one.arm.coords
            if coords.get(self.down, down) == down and coords.get(self.across, across) == across:
                return one
        return None

    def line(self, down: str) -> list[Cell]:
        inert = [o for o in self.arms if o.arm.coords.get(self.down) == down and self.across not in o.arm.coords]
        if inert:
            cell = self.measure.cell(inert[0])
            cell.span = len(self.acrosses)
            cell.note = cell.note or f"one arm: {self.names.axis(self.across)} is inert here"
            return [cell] + [Cell()] * self.margin
        cells = [self._cell(self.find(down, across)) for across in self.acrosses]
        if self.margin:
            low, high = self._ends(self.across, self.acrosses)
            cells.append(self._difference(self.find(down, high), self.find(down, low)))
        return cells

    def _cell(self, one: SelectedArm | None) -> Cell:
        if one is None:
            return Cell(note="not in the design")
        cell, planned = self.measure.cell(one), len(one.arm.rows)
        if not cell.note and cell.n < planned and not cell.text:
            cell.note = f"n = {cell.n} of {planned} trials" if cell.n else f"none of {planned} trials finished"
        return cell

    def bottom(self) -> Row:
        """Return the row of differences between the two rows, with the interaction in the corner."""
        low, high = self._ends(self.down, self.downs)
        cells = [self._difference(self.find(high, a), self.find(low, a)) for a in self.acrosses]
        corner = [self._corner(low, high)] if len(self.acrosses) == 2 else []
        return Row((Cell(text=self._minus(self.down, self.downs)), *cells, *corner), rule=True)

    def say_how_many(self, rows: list[Row]) -> None:
        """Note the n of each mean where they differ: this table has no column for it."""
        means = [cell for row in rows for cell in row.cells if cell.value is not None and not cell.signed]
        if len({cell.n for cell in means}) > 1:
            for cell in means:
                told = cell.note if cell.note.startswith("n = ") else f"n = {cell.n}; {cell.note}"
                cell.note = told.removesuffix("; ")

    def _difference(self, one: SelectedArm | None, base: SelectedArm | None) -> Cell:
        return Cell() if one is None or base is None or one == base else self.measure.against(one, base)

    def _corner(self, low: str, high: str) -> Cell:
        found = [[self.find(d, a) for a in self._ends(self.across, self.acrosses)] for d in (low, high)]
        values = [[self.measure.values(one) for one in pair if one] for pair in found]
        if any(len(pair) < 2 for pair in values):
            return Cell()
        result = interaction(values, self.measure.level)
        compared = [one for pair in found for one in pair if one]
        most = max(len(found) for pair in values for found in pair)
        cell = self.measure.difference_cell(result, most, *compared)
        about = "the interaction: how much one difference depends on the other factor"
        cell.note = f"{cell.note}; {about}" if cell.note else about
        return cell

    def _ends(self, axis: str, two: list[str]) -> tuple[str, str]:
        """Return (other level, baseline level): differences show the effect of the baseline setting."""
        mine = {a.baseline for part in self.names.frame.parts for a in part.axes if a.name == axis}
        return (two[1], two[0]) if two[0] in mine and two[1] not in mine else (two[0], two[1])

    def _minus(self, axis: str, two: list[str]) -> str:
        low, high = self._ends(axis, two)
        return f"$\\Delta$ {self.names.level(axis, high)} − {self.names.level(axis, low)}"
