"""A table whose rows are arms: one factor at a time, all arms, or the parts' baselines with published numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from paper_tables.core.text import join_and
from paper_tables.data.frame import Arm
from paper_tables.schema.tables import ArmColumn, ArmTable
from paper_tables.tables import notes, published
from paper_tables.tables.cell_values import Measure, adjust, mark_best
from paper_tables.tables.grid import Cell, Grid, Head, NoData, Row
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import listed_arms, varied_axis

FilledColumn = tuple[Head, list[Cell]]


def build(table: ArmTable, names: Names) -> Grid:
    """Return the table. Raises NoData if no arm passes the filter or none has finished."""
    frame = names.frame
    arms = listed_arms(frame, table.filter, table.rows)
    if not arms:
        raise NoData("the results hold no such trial")
    if not any(frame.finished_trials(arm) for arm in arms):
        raise NoData(f"no trial has finished ({join_and([f'{n} {s}' for s, n in frame.statuses(arms).items()])})")
    row_headers = _row_headers(table, names, arms)
    measured = [column for column in table.columns if isinstance(column, ArmColumn) and _known(column, names)]
    columns = [_metric(c, names, arms) if c.metric else _paper(c, table, arms) for c in measured]
    body = [*row_headers.columns, _count(names, arms), *columns]
    rows = [
        Row(tuple(cells[i] for _, cells in body), row_headers.group(i), row_headers.rule(i))
        for i in range(len(arms))
    ]  # fmt: skip
    adjust(rows)
    grid = Grid(table.name, table.label, table.caption, tuple(head for head, _ in body), rows, width=table.width)
    return notes.finish(grid, table, names, arms)


def _known(column: ArmColumn, names: Names) -> bool:
    """Keep an optional column only if the frame has a value of its metric."""
    if column.metric is None or not column.optional:
        return True
    return any(names.frame.values(arm, column.metric) for arm in names.frame.arms)


# ---- text columns on the left


@dataclass(frozen=True)
class _RowHeaders:
    columns: list[FilledColumn]
    group: Callable[[int], str]
    rule: Callable[[int], bool]


def _row_headers(table: ArmTable, names: Names, arms: list[Arm]) -> _RowHeaders:
    frame, item, titled = names.frame, table.rows.item, "part" in table.rows.group
    ways = [varied_axis(frame, arm) for arm in arms]

    def new(i: int) -> bool:
        return i == 0 or arms[i].part != arms[i - 1].part

    def group(i: int) -> str:
        return _title(names, arms[i], item == "level") if titled and new(i) else ""

    if item == "level":
        factors = [
            "baseline" if not way else names.axis(way) if new(i) or way != ways[i - 1] else ""
            for i, way in enumerate(ways)
        ]
        settings = [_level(names, arm, way, titled) for arm, way in zip(arms, ways, strict=True)]
        columns = [_words("Factor", factors), _words("Setting", settings)]
        return _RowHeaders(columns, group, lambda i: not new(i) and ways[i] != ways[i - 1])
    if item == "part":
        return _RowHeaders([_words("Method", [names.part(arm.part) for arm in arms])], group, lambda i: False)
    if item == "name":
        axes = list(dict.fromkeys(axis for arm in arms for axis in arm.coords))
        axes = [
            a for a in axes if len({arm.coords.get(a) for arm in arms}) > 1
        ] or axes  # an axis with one level says nothing
        named = [", ".join(names.level(a, arm.coords[a]) for a in axes if a in arm.coords) for arm in arms]
        return _RowHeaders([_words(", ".join(map(names.axis, axes)), named)], group, lambda i: False)
    labels = [names.arm(arm) for arm in arms]
    if not titled and len({arm.part for arm in arms}) > 1:
        labels = [f"{names.part(arm.part)}: {label}" for arm, label in zip(arms, labels, strict=True)]
    return _RowHeaders([_words("Setting", labels)], group, lambda i: False)


def _level(names: Names, arm: Arm, way: str | None, titled: bool) -> str:
    """Return the level in which the arm differs; for a baseline its own, if it has one axis and no group title."""
    if way:
        return names.level(way, arm.coords[way])
    return names.level(*next(iter(arm.coords.items()))) if len(arm.coords) == 1 and not titled else ""


def _words(head: str, texts: list[str]) -> FilledColumn:
    return Head(head, kind="text"), [Cell(text=text) for text in texts]


def _title(names: Names, arm: Arm, with_baseline: bool) -> str:
    base = names.frame.baseline(arm.part)
    title = names.part(arm.part)
    return f"{title}; baseline: {names.coords(base)}" if with_baseline and base and base.coords else title


def _count(names: Names, arms: list[Arm]) -> FilledColumn:
    """Return the column n: finished trials, and planned ones if some are missing."""
    cells = []
    for arm in arms:
        done, planned = len(names.frame.finished_trials(arm)), len(arm.rows)
        other = {s: n for s, n in names.frame.statuses([arm]).items() if s != "done"}
        note = join_and([f"{n} {s}" for s, n in other.items()])
        cells.append(Cell(text=f"{done}" if done == planned else f"{done}/{planned}", note=note, n=done))
    return Head("n", kind="count"), cells


# ---- columns of numbers


def _metric(column: ArmColumn, names: Names, arms: list[Arm]) -> FilledColumn:
    metric = column.metric or ""
    scale = not column.head or "{unit}" in column.head
    measure = Measure.of(names, arms, metric, column.show, column.interval, column.digits, scale)
    cells = [measure.cell(arm) for arm in arms]
    if column.mark == "none":
        cells = [replace(cell, p=None) for cell in cells]
    if column.best == "bold":
        scopes = {arm.part for arm in arms} if column.within == "part" else {""}
        for scope in sorted(scopes):
            mine = [c for arm, c in zip(arms, cells, strict=True) if scope in ("", arm.part)]
            mark_best(mine, names.frame.direction(metric))
    default = with_unit(names.metric(metric).head, "{unit}" if measure.unit else "")
    head = (column.head or default).replace("{unit}", measure.unit)
    return Head(head, measure.under(cells), over=column.over.replace("{unit}", measure.unit)), cells


def _paper(column: ArmColumn, table: ArmTable, arms: list[Arm]) -> FilledColumn:
    name = column.published or ""
    cells = []
    for arm in arms:
        source = table.published.get(arm.part)
        row = published.find(source) if source else None
        text = (row or {}).get(name, "").strip()
        if source is None or not text:
            cells.append(Cell())
            continue
        cells.append(replace(published.cell(text, name, source), origin=published.origin(row or {})))
    return Head(column.head or "Paper", over=column.over), cells
