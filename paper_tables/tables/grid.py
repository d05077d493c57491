"""Tables as cells, independent of the output format."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, groupby
from typing import Literal

from paper_tables.core.text import plain

ALPHA = 0.05
DASH = "—"
ARROWS = {"max": " ↑", "min": " ↓", "none": ""}
"""Behind the name of a metric of which larger or smaller is better."""


class NoData(Exception):
    """Raised when a table or figure has no data; the message says what is missing."""


@dataclass
class Cell:
    """A number with its spread, or text. Text printed instead of a number keeps the value for sorting."""

    value: float | None = None
    spread: float | None = None
    digits: int = 2
    signed: bool = False
    unit: str = ""
    """Of a difference."""
    text: str = ""
    note: str = ""
    best: bool = False
    grey: bool = False
    span: int = 1
    p: float | None = None
    """Unadjusted p value of a cell that may be marked as significant."""
    holm: float | None = None
    test: Literal["t", "mcnemar"] = "t"
    """Test that gave p; Holm's correction is applied to each test separately."""
    tested: tuple[str, frozenset[tuple[str, str]]] = ("", frozenset())
    """Metric and arms, as (part, label), that are compared: the same test in two tables counts once."""
    least: int = 0
    """McNemar: the smallest number of discordant images over the seeds."""
    sd: float | None = None
    """Standard deviation of the paired differences, for the note on power."""
    n: int = 0
    trials: tuple[str, ...] = ()
    study: str = ""
    """Folder of the study that the trials belong to; empty: the study being rendered."""
    origin: str = ""
    """Source of a published number."""

    @property
    def star(self) -> bool:
        return self.holm is not None and self.holm < ALPHA

    @property
    def empty(self) -> bool:
        return self.value is None and not self.text

    def number(self) -> str:
        """Return the value rounded to `digits`, in ASCII, without a minus sign on zero."""
        return fixed(self.value or 0.0, self.digits, self.signed)

    def uncertainty(self) -> str:
        return "" if self.spread is None else fixed(self.spread, self.digits)

    def printed(self, head: Head) -> str:
        """Return the text or the number with its spread, as plain text; a dash for a number that is missing."""
        if self.value is None or self.text:
            return plain(self.text) or (DASH if head.kind == "number" else "")
        spread = f" ± {self.uncertainty()}" if self.spread is not None else ""
        return self.number().replace("-", "−") + spread


def fixed(value: float, digits: int, signed: bool = False) -> str:
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text


@dataclass(frozen=True)
class Head:
    """Column head: `text`, `sub` in a smaller line below, `over` above neighbors that share it."""

    text: str
    sub: str = ""
    kind: Literal["text", "prose", "number", "count"] = "number"
    over: str = ""
    share: float = 0.0
    """For prose, which wraps: share of the width that the other columns leave."""
    better: str = "none"
    """Whether larger ("max") or smaller ("min") numbers are better: an arrow in print."""
    over_better: str = "none"
    """The same for all columns under `over`."""

    @property
    def full(self) -> str:
        """The words without arrows, for CSV."""
        return f"{self.over}, {self.text}" if self.over else self.text

    @property
    def shown(self) -> str:
        return self.text + ARROWS[self.better]

    @property
    def shown_over(self) -> str:
        return self.over + ARROWS[self.over_better]

    @property
    def words(self) -> bool:
        return self.kind in ("text", "prose")


@dataclass(frozen=True)
class Row:
    """Cells in the order of the heads; `group` titles the group that starts here, `rule` starts a block in it."""

    cells: tuple[Cell, ...]
    group: str = ""
    rule: bool = False

    @property
    def wide(self) -> tuple[Cell, ...]:
        """One cell per column: a cell that spans several is repeated."""
        return tuple(cell for cell in self.cells for _ in range(cell.span))

    def under(self, heads: tuple[Head, ...]) -> list[tuple[Head, Cell]]:
        """Return each cell with the head of its first column."""
        starts = accumulate((cell.span for cell in self.cells[:-1]), initial=0)
        return [(heads[at], cell) for at, cell in zip(starts, self.cells, strict=True)]


@dataclass
class Grid:
    """A finished table. `notes` are printed below it; `letters` are the footnotes of single cells."""

    name: str
    label: str
    caption: str
    heads: tuple[Head, ...]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    provenance: str = ""
    width: Literal["auto", "one", "two"] = "auto"
    tests_at: int | None = None
    """Place among the notes of those on tests, which the study's family of tests writes."""

    def __post_init__(self) -> None:
        texts = (cell.note for row in self.rows for cell in row.cells if cell.note)
        self.letters = {text: footnote_letter(i) for i, text in enumerate(dict.fromkeys(texts))}

    def columns(self) -> list[list[Cell]]:
        """Return the cells of each column, without those that span several."""
        rows = [row.wide for row in self.rows]
        return [[row[i] for row in rows if row[i].span == 1] for i in range(len(self.heads))]

    def overs(self) -> list[tuple[str, int]]:
        """Return the texts above neighboring heads with the numbers of their columns; [] if there are none."""
        found = [(over, len(list(heads))) for over, heads in groupby(self.heads, key=lambda head: head.shown_over)]
        return found if any(over for over, _ in found) else []

    def mark(self, cell: Cell) -> str:
        """Return the superscript of a cell: star, footnote letter."""
        return ("*" if cell.star else "") + (self.letters[cell.note] if cell.note else "")


def footnote_letter(i: int) -> str:
    return (footnote_letter(i // 26 - 1) if i > 25 else "") + "abcdefghijklmnopqrstuvwxyz"[i % 26]
