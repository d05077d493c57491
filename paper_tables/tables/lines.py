"""The rows of a table before its numbers are formatted: texts, arms to measure, published row.

A list of arms and a comparison give the same kind of row: an arm's row has one arm of this study and perhaps the
published row of its part, a comparison's row names both itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

from paper_tables.core.text import escape_markup
from paper_tables.data.frame import Arm
from paper_tables.data.other_studies import SelectedArm, StudyFrames, first_available
from paper_tables.schema.published import Incomparable, Published
from paper_tables.schema.tables import ArmTable, ComparisonRow, ComparisonTable, SortBy
from paper_tables.tables import published
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import listed_arms, varied_axis


@dataclass(frozen=True)
class Line:
    """One row. `found`: the first of these arms with a value is shown; `scope`: rows compared for the best number."""

    texts: tuple[str, ...]
    found: tuple[SelectedArm, ...]
    scope: str
    group: str = ""
    rule: bool = False
    rebuilt: str = ""
    """Name of the reconstructed system, for the note; empty for others."""
    source: Published | None = None
    paper: dict[str, str] = field(default_factory=dict)
    incomparable: tuple[Incomparable, ...] = ()


def rebuilt_name(names: Names, part: str) -> str:
    return names.part(part).removesuffix(" (reconstructed)") if names.reconstructed(part) else ""


# ---- arms of this study


def arm_lines(table: ArmTable, names: Names) -> tuple[list[str], list[Line]]:
    """Return the heads of the text columns and the rows. Raises NoData if no arm passes the filter or has finished."""
    frame = names.frame
    arms = listed_arms(frame, table.filter, table.rows)
    if not arms:
        raise NoData("the results hold no such trial")
    if not any(frame.finished_trials(arm) for arm in arms):
        raise NoData(f"no trial has finished ({frame.unfinished(arms)})")
    by_level = table.rows.item == "level"
    ways = [varied_axis(frame, arm) for arm in arms]
    new = [i == 0 or arm.part != arms[i - 1].part for i, arm in enumerate(arms)]
    rules = [by_level and not new[i] and way != ways[i - 1] for i, way in enumerate(ways)]
    heads, texts = _arm_texts(table, names, arms, ways, [a or b for a, b in zip(new, rules, strict=True)])
    lines = []
    for i, arm in enumerate(arms):
        source = table.published.get(arm.part)
        paper = published.find(source) if source else None
        group = _title(names, arm, by_level) if "part" in table.rows.group and new[i] else ""
        rebuilt = rebuilt_name(names, arm.part)
        lines.append(
            Line(texts[i], (SelectedArm(frame, arm),), arm.part, group, rules[i], rebuilt, source, paper or {})
        )
    return heads, lines


def _arm_texts(
    table: ArmTable, names: Names, arms: list[Arm], ways: list[str | None], starts: list[bool]
) -> tuple[list[str], list[tuple[str, ...]]]:
    item, titled = table.rows.item, "part" in table.rows.group
    if item == "level":
        factors = ["baseline" if not way else names.axis(way) * new for way, new in zip(ways, starts, strict=True)]
        settings = [_level(names, arm, way, titled) for arm, way in zip(arms, ways, strict=True)]
        return ["Factor", "Setting"], list(zip(factors, settings, strict=True))
    if item == "part":
        return ["Method"], [(names.part(arm.part),) for arm in arms]
    if item == "name":
        axes = list(dict.fromkeys(axis for arm in arms for axis in arm.coords))
        varied = [a for a in axes if len({arm.coords.get(a) for arm in arms}) > 1]
        axes = varied or axes  # an axis with one level says nothing
        named = [", ".join(names.level(a, arm.coords[a]) for a in axes if a in arm.coords) for arm in arms]
        return [", ".join(map(names.axis, axes))], [(text,) for text in named]
    several = not titled and len({arm.part for arm in arms}) > 1
    return ["Setting"], [(f"{names.part(arm.part)}: " * several + names.arm(arm),) for arm in arms]


def _level(names: Names, arm: Arm, way: str | None, titled: bool) -> str:
    """Return the level in which the arm differs; for a baseline its own, if it has one axis and no group title."""
    if way:
        return names.level(way, arm.coords[way])
    return names.level(*next(iter(arm.coords.items()))) if len(arm.coords) == 1 and not titled else ""


def _title(names: Names, arm: Arm, with_baseline: bool) -> str:
    base = names.frame.baseline(arm.part)
    title = names.part(arm.part)
    return f"{title}; baseline: {names.coords(base)}" if with_baseline and base and base.coords else title


# ---- rows of a comparison


def comparison_lines(table: ComparisonTable, names: Names, library: StudyFrames) -> tuple[list[str], list[Line]]:
    """Return the heads of the text columns and the rows, in the file's order or sorted inside each group."""
    texts = [column for column in table.columns if column.text is not None]
    keys = [column.text or "" for column in texts]
    heads = [column.head or (column.text or "").replace("_", " ").capitalize() for column in texts]
    lines: list[Line] = []
    for row in table.rows:
        for line in _expand(row, keys, names, library):
            scope = lines[-1].scope if lines and not line.group else str(len(lines))
            lines.append(replace(line, scope=scope))
    return [table.method, *heads], _sorted(table.sort, lines) if table.sort else lines


def _expand(row: ComparisonRow, keys: list[str], names: Names, library: StudyFrames) -> Iterator[Line]:
    """Yield one line, or with `every` one per published row."""
    papers = published.matching(row.published) if row.published else []
    found = tuple(library.all(row.measured))
    rebuilt = any(Names(names.spec, one.frame).reconstructed(one.arm.part) for one in found)
    rebuilt = rebuilt if row.reconstructed is None else row.reconstructed
    for i, paper in enumerate(papers if row.every else papers[:1] or [{}]):
        label = row.label or paper.get("variant") or paper.get("method") or ""
        for key, value in paper.items():
            label = label.replace(f"{{{key}}}", escape_markup(value))
        words = [row.words.get(key) or escape_markup(paper.get(key, "")) for key in keys]
        yield Line(
            (label + " (reconstructed)" * rebuilt, *words), found, "", "" if i else row.group,
            rebuilt=label if rebuilt else "", source=row.published, paper=paper, incomparable=row.incomparable,
        )  # fmt: skip


def _sorted(sort: SortBy, lines: list[Line]) -> list[Line]:
    def key(line: Line) -> tuple[bool, float]:
        got = first_available(line.found, (sort.by,)) if sort.of == "measured" else None
        value = published.number(line.paper.get(sort.by, "")) if sort.of == "published" else got and got.summary.mean
        return value is None, (value or 0.0) * (-1 if sort.descending else 1)

    found: list[Line] = []
    for _, block in groupby(lines, key=lambda line: line.scope):
        first, *others = block
        ordered = sorted([first, *others], key=key)
        found += [replace(line, group=first.group if i == 0 else "") for i, line in enumerate(ordered)]
    return found
