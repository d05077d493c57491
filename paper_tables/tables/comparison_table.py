"""Published and measured numbers side by side; rows name published rows and arms of this or other studies."""

from __future__ import annotations

from collections.abc import Iterator

from paper_tables.core.text import escape_markup
from paper_tables.data.other_studies import Measurement, StudyFrames, first_available
from paper_tables.schema.comparisons import ComparisonColumn, ComparisonTable, Incomparable
from paper_tables.tables import comparison_notes, published
from paper_tables.tables.cell_values import mark_best
from paper_tables.tables.comparison_rows import (
    COUNTED_METRICS,
    ComparedLine,
    expand,
    ordered,
)
from paper_tables.tables.grid import Cell, Grid, Head, NoData, Row
from paper_tables.tables.labels import Names, automatic_digits

LOWER_IS_BETTER = (*COUNTED_METRICS, "loss", "seconds", "peak_memory_mb", "latency_ms")
HIGHER_IS_BETTER = ("top1", "top5", "images_per_second", "throughput_img_s", "speedup")


def build(table: ComparisonTable, names: Names, library: StudyFrames) -> Grid:
    """Return the table. Raises NoData if neither a published nor a measured number is there."""
    lines = ordered(table, [line for row in table.rows for line in expand(row, library)])
    compared = [_FilledColumn(table, column, lines, names) for column in table.columns]
    words = [column for column in compared if column.spec.text is not None]
    numbers = [column for column in compared if column.spec.text is None]
    method = [Cell(text=_label(line, names)) for line in lines]
    heads = [Head(table.method, kind="text"), *(Head(_head(column.spec, names), kind="text") for column in words)]
    body = [method, *(column.words() for column in words)]
    if any(column.measured[i] for column in numbers for i in range(len(lines))):
        heads.append(Head("n", kind="count"))
        body.append(_count(numbers, len(lines)))
    for column in numbers:
        for head, cells in column.filled():
            heads.append(head)
            body.append(cells)
    if not any(cell.value is not None or cell.text for cells in body[1 + len(words) :] for cell in cells):
        raise NoData("neither a published nor a measured number")
    rows = [Row(tuple(cells[i] for cells in body), line.group) for i, line in enumerate(lines)]
    grid = Grid(table.name, table.label, table.caption, tuple(heads), rows, width=table.width)
    return comparison_notes.finish(grid, table, names, library, lines, [m for c in numbers for m in c.measured if m])


def _label(line: ComparedLine, names: Names) -> str:
    return f"{line.label} (reconstructed)" if line.reconstructed(names) else line.label


def _count(columns: list[_FilledColumn], lines: int) -> list[Cell]:
    """Return n of the sampled metrics; of the deterministic ones if nothing else was measured."""
    cells = []
    for i in range(lines):
        found = [m for column in columns if (m := column.measured[i])]
        sampled = [m.summary.n for m in found if m.metric not in COUNTED_METRICS]
        n = max(sampled or [m.summary.n for m in found], default=0)
        cells.append(Cell(text=str(n) if found else "", n=n))
    return cells


# ---- columns


def _head(column: ComparisonColumn, names: Names) -> str:
    if column.head:
        return column.head
    if column.text is not None:
        return column.text.replace("_", " ").capitalize()
    return names.metric(column.metric[0] if column.metric else column.published or "").head


class _FilledColumn:
    """One column of the table file, which becomes up to four columns of the table."""

    def __init__(self, table: ComparisonTable, spec: ComparisonColumn, lines: list[ComparedLine], names: Names) -> None:
        self.table, self.spec, self.lines, self.names = table, spec, lines, names
        metrics = spec.metric or ()
        self.measured = [first_available(line.found, metrics, spec.interval) if metrics else None for line in lines]
        means = [spec.factor * m.summary.mean for m in self.measured if m]
        self.digits = automatic_digits(means) if spec.digits is None else spec.digits

    def words(self) -> list[Cell]:
        key = self.spec.text or ""
        texts = [line.row.words.get(key) or escape_markup((line.paper or {}).get(key, "")) for line in self.lines]
        return [Cell(text=text) for text in texts]

    def filled(self) -> Iterator[tuple[Head, list[Cell]]]:
        heads = {"published": "publ.", "measured": "meas.", "difference": "diff.", "percent": "diff. %"}
        kinds = self.spec.parts()
        made = {kind: [self._cell(kind, i) for i in range(len(self.lines))] for kind in kinds}
        for kind in kinds:
            if self.spec.best == "bold" and kind in ("published", "measured"):
                self._mark_best(made[kind])
            over = _head(self.spec, self.names)
            sub = self._under(made[kind]) if kind == "measured" else ""
            yield (Head(heads[kind], sub, over=over) if len(kinds) > 1 else Head(over, sub)), made[kind]

    def _under(self, cells: list[Cell]) -> str:
        if not any(cell.spread is not None for cell in cells):
            return ""
        return "± sd" if self.spec.spread == "sd" else f"± {100 * self.spec.interval:g} % CI"

    def _mark_best(self, cells: list[Cell]) -> None:
        direction = self._direction()
        scopes: list[list[Cell]] = [[]]
        for line, cell in zip(self.lines, cells, strict=True):
            scopes += [[]] if line.group and self.spec.within == "group" else []
            scopes[-1].append(cell)
        for scope in scopes:
            mark_best(scope, direction)

    def _direction(self) -> str:
        for metric in self.spec.metric or ():
            direction = next(
                (d for m in self.measured if m and (d := m.found.frame.direction(metric)) != "none"), "none"
            )
            if direction != "none":
                return direction
        named = {*(self.spec.metric or ()), self.spec.published}
        return "max" if named & {*HIGHER_IS_BETTER} else "min" if named & {*LOWER_IS_BETTER} else "none"

    def _cell(self, kind: str, i: int) -> Cell:
        if kind == "published":
            return self._published(i)
        return self._measured(i) if kind == "measured" else self._difference(i, percent=kind == "percent")

    def _published(self, i: int) -> Cell:
        line, name = self.lines[i], self.spec.published or ""
        text = (line.paper or {}).get(name, "").strip()
        if not text or line.row.published is None:
            return Cell()
        cell = published.cell(text, name, line.row.published)
        cell.origin = published.origin(line.paper or {})
        why = self._why(i)
        if why and not cell.grey:
            cell.grey, cell.note = True, "; ".join([*([cell.note] if cell.note else []), f"not comparable: {why}"])
        return cell

    def _measured(self, i: int) -> Cell:
        got = self.measured[i]
        if got is None:
            return Cell()
        measured_spread = {"none": None, "sd": got.summary.sd, "ci": got.summary.half_width}[self.spec.spread]
        spread = None if measured_spread is None else self.spec.factor * measured_spread
        note = self._lost(got)
        return Cell(
            self.spec.factor * got.summary.mean, spread, self.digits, note=note, n=got.summary.n, trials=got.trials,
            study=got.found.folder,
        )  # fmt: skip

    def _lost(self, got: Measurement) -> str:
        planned = len(got.found.arm.rows)
        return f"n = {got.summary.n} of {planned} trials" if got.summary.n < planned else ""

    def _difference(self, i: int, percent: bool) -> Cell:
        printed, got = self._published(i), self.measured[i]
        if got is None or printed.value is None:
            return Cell()
        mine = self.spec.factor * got.summary.mean
        value = 100 * (mine / printed.value - 1) if percent and printed.value else mine - printed.value
        equal = not printed.grey and abs(mine - printed.value) <= 0.5 * 10.0**-printed.digits * (1 + 1e-9)
        digits = 1 if percent else max(self.digits, printed.digits)
        note = "" if "published" in self.spec.parts() else printed.note
        return Cell(
            value, digits=digits, signed=True, grey=printed.grey, note=note, text="=" if equal else "",
            n=got.summary.n, trials=got.trials, study=got.found.folder, origin=printed.origin,
        )  # fmt: skip

    def _why(self, i: int) -> str:
        """Return why the two numbers of a row are not comparable; empty if they are or nothing was measured."""
        got = self.measured[i]
        if got is None:
            return ""
        scale = str(got.found.frame.metadata.get("scale") or "")
        rules: tuple[Incomparable, ...] = (*self.lines[i].row.incomparable, *self.table.incomparable)
        named = {*(self.spec.metric or ()), self.spec.published}
        fitting = (r.why for r in rules if named & {*r.metrics} and (not r.scales or scale in r.scales))
        return next(fitting, "")
