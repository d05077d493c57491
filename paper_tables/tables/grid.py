"""Tables as cells, independent of the output format."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ALPHA = 0.05
DASH = "—"


class NoData(Exception):
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
    provenance: str = ""
    width: Literal["auto", "one", "two"] = "auto"

    def __post_init__(self) -> None:
        texts = (cell.note for row in self.rows for cell in row.cells if cell.note)
        self.letters = {text: footnote_letter(i) for i, text in enumerate(dict.fromkeys(texts))}

    def mark(self, cell: Cell) -> str:
        """What hangs on the cell: a star, a letter."""
        return ("*" if cell.star else "") + (self.letters[cell.note] if cell.note else "")


def footnote_letter(i: int) -> str:
    return (footnote_letter(i // 26 - 1) if i > 25 else "") + "abcdefghijklmnopqrstuvwxyz"[i % 26]
