"""Tables as cells, before anything is said about LaTeX or HTML; and the choice of the arms that stand in the rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from paper_tables.data.frame import Arm, Frame
from paper_tables.schema.figures import Filter
from paper_tables.schema.tables import Rows

ALPHA = 0.05
DASH = "—"


class Nothing(Exception):
    """A table or figure has no data; the message says which."""


@dataclass
class Cell:
    """A number with its spread, or words. Words that stand for a number (published ones) keep its value."""

    value: float | None = None
    spread: float | None = None
    digits: int = 2
    signed: bool = False
    text: str = ""
    note: str = ""
    best: bool = False
    grey: bool = False
    span: int = 1
    p: float | None = None
    """The unadjusted p value, where this cell is to be marked."""
    holm: float | None = None
    test: Literal["t", "mcnemar"] = "t"
    """Which test p is of; Holm's correction is taken over each by itself."""
    least: int = 0
    """McNemar: the fewest discordant images of any seed."""
    sd: float | None = None
    """Of the paired differences, for the note on power."""
    n: int = 0
    trials: tuple[str, ...] = ()
    study: str = ""
    """The folder of the study that the trials belong to; empty: the one that is rendered."""
    origin: str = ""
    """Where a published number stands."""

    @property
    def star(self) -> bool:
        return self.holm is not None and self.holm < ALPHA

    @property
    def empty(self) -> bool:
        return self.value is None and not self.text

    def number(self) -> str:
        """The value to its digits, ASCII, without a minus on zero."""
        return fixed(self.value or 0.0, self.digits, self.signed)

    def uncertainty(self) -> str:
        return "" if self.spread is None else fixed(self.spread, self.digits)


def fixed(value: float, digits: int, signed: bool = False) -> str:
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


@dataclass(frozen=True)
class Head:
    """A column: `text`, `sub` in a smaller line below, `over` above neighbours that share it."""

    text: str
    sub: str = ""
    kind: Literal["text", "prose", "number", "count"] = "number"
    over: str = ""
    share: float = 0.0
    """Of the width that the other columns leave, for prose, which is broken into lines."""

    @property
    def words(self) -> bool:
        return self.kind in ("text", "prose")


@dataclass(frozen=True)
class Row:
    """Cells in the order of the heads; `group` is set on the first row of a group, `rule` starts a block in it."""

    cells: tuple[Cell, ...]
    group: str = ""
    rule: bool = False


@dataclass
class Grid:
    """A finished table. `notes` stand under it; `letters` are the footnotes of single cells."""

    name: str
    label: str
    caption: str
    heads: tuple[Head, ...]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    stamp: str = ""
    width: Literal["auto", "one", "two"] = "auto"

    def __post_init__(self) -> None:
        texts = (cell.note for row in self.rows for cell in row.cells if cell.note)
        self.letters = {text: letter(i) for i, text in enumerate(dict.fromkeys(texts))}

    def mark(self, cell: Cell) -> str:
        """What hangs on the cell: a star, a letter."""
        return ("*" if cell.star else "") + (self.letters[cell.note] if cell.note else "")


def letter(i: int) -> str:
    return (letter(i // 26 - 1) if i > 25 else "") + "abcdefghijklmnopqrstuvwxyz"[i % 26]


# ---- which arms


def passing(frame: Frame, chosen: Filter) -> list[Arm]:
    """The arms that a filter lets through. An arm in which a filtered axis is inert does not pass."""

    def passes(arm: Arm) -> bool:
        where = {"part": arm.part, **arm.coords}
        return all(where.get(key) in labels for key, labels in chosen.items())

    return [arm for arm in frame.arms if passes(arm)]


def listed(frame: Frame, chosen: Filter, rows: Rows) -> list[Arm]:
    """The arms of a list, parts in order, baselines first, then axis by axis and level by level."""
    arms = passing(frame, chosen)
    if rows.arms == "baseline":
        return [arm for arm in arms if arm.baseline]
    if rows.block == "one_at_a_time":
        arms = [arm for arm in arms if varied(frame, arm) is not None]
        arms = sorted(arms, key=lambda arm: _place(frame, arm))
    return [arm for arm in arms if rows.baseline == "first" or not arm.baseline]


def varied(frame: Frame, arm: Arm) -> str | None:
    """The one axis in which the arm leaves its part's baseline; "" for the baseline itself, None for more than one."""
    base = frame.baseline(arm.part)
    if base is None:
        return None
    away = arm.differs(base)
    return None if len(away) > 1 else "".join(away)


def _place(frame: Frame, arm: Arm) -> tuple[int, int, int]:
    parts = [part.name for part in frame.parts]
    part = frame.parts[parts.index(arm.part)]
    name = varied(frame, arm) or ""
    axes = [axis.name for axis in part.axes]
    if name not in axes:
        return parts.index(arm.part), -1, 0
    levels = part.axes[axes.index(name)].levels
    level = arm.coords[name]
    return parts.index(arm.part), axes.index(name), levels.index(level) if level in levels else len(levels)


def crossed(frame: Frame, chosen: Filter, axes: Iterable[str]) -> list[Arm]:
    """Arms that leave their part's baseline in the given axes only."""
    free = set(axes) | (chosen.keys() - {"part"})

    def passes(arm: Arm) -> bool:
        base = frame.baseline(arm.part)
        inside = all(arm.coords.get(k, "") in ("", *v) for k, v in chosen.items() if k != "part")
        parts = chosen.get("part")
        return inside and (not parts or arm.part in parts) and (base is None or set(arm.differs(base)) <= free)

    return [arm for arm in frame.arms if passes(arm)]


def levels(frame: Frame, arms: Iterable[Arm], axis: str, chosen: Filter) -> list[str]:
    """The levels of an axis that the arms take, in the study's order."""
    taken = [arm.coords[axis] for arm in arms if axis in arm.coords]
    order = [level for part in frame.parts for a in part.axes if a.name == axis for level in a.levels]
    found = [level for level in dict.fromkeys([*order, *taken]) if level in taken]
    return [level for level in found if axis not in chosen or level in chosen[axis]]
