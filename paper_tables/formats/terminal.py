"""A printed table in a terminal: texts wrap, numbers never do; columns that do not fit are left out and named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, groupby
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from paper_tables.formats.printed import Printed

GAP = 2
LEAST_TEXT, FIRST_TEXT, LONGEST_WORD = 10, 16, 14
"""Letters that a column of text keeps at least; the first, which names the row, keeps more; longer words are cut."""

Line = list[tuple[Text, int, Literal["left", "right", "center"]]]
"""Texts of a row with their widths and sides; those to the left are words and wrap."""


def render(table: Printed, width: int | None = None, rows: int | None = None, notes: bool = True) -> RenderableType:
    """Return a table for a terminal of `width` columns (None: as wide as it is); rows: the first ones only."""
    heads = table["heads"]
    shown = _columns(table, width)
    widths = _widths(table, shown, width)
    columns = dict(zip(shown, widths, strict=True))
    parts: list[RenderableType] = [Text(table["caption"], style="bold")] if table["caption"] else []
    parts += _overs(heads, columns)
    parts.append(_line([(_head(heads[i]), columns[i], _side(heads[i])) for i in shown], "bottom", whole=False))
    parts.append(Text("─" * _sum(widths), style="dim"))
    for row in table["rows"][:rows]:
        if row["group"]:
            parts.append(Text(row["group"], style="italic"))
        parts.append(_line(_cells(row, heads, columns), "top"))
    if rows is not None and (rest := len(table["rows"]) - rows) > 0:
        parts.append(Text(f"and {rest} more rows", style="dim"))
    if left := [_name(head) for i, head in enumerate(heads) if i not in columns]:
        parts.append(Text(f"too narrow for: {', '.join(left)}", style="dim"))
    if notes:
        parts += [Text(note, style="dim") for note in table["notes"]]
    return Group(*parts)


def _line(cells: Line, vertical: Any, whole: bool = True) -> Table:
    """Return one row; whole: its numbers are never wrapped."""
    line = Table.grid(padding=(0, GAP, 0, 0))
    for _, width, side in cells:
        one_line = whole and side != "left"
        line.add_column(width=width, justify=side, overflow="fold", no_wrap=one_line, vertical=vertical)
    line.add_row(*[text for text, _, _ in cells])
    return line


def _is_text(head: Any) -> bool:
    return head["kind"] in ("text", "prose")


def _side(head: Any) -> Literal["left", "right"]:
    return "left" if _is_text(head) else "right"


def _name(head: Any) -> str:
    return ", ".join(part for part in (head["over"], head["text"]) if part)


def _head(head: Any) -> Text:
    return Text("\n".join(line for line in (head["text"], head["sub"]) if line), style="bold")


def _overs(heads: Sequence[Any], columns: Mapping[int, int]) -> list[RenderableType]:
    """Return the line of what stands above several columns, if anything does."""
    groups = _groups(heads, columns)
    if not any(over for over, _ in groups):
        return []
    line = Table.grid(padding=(0, GAP, 0, 0))
    for _, group in groups:
        line.add_column(width=_sum([columns[i] for i in group]), justify="center", vertical="bottom", overflow="fold")
    line.add_row(*[Text(over, style="bold") for over, _ in groups])
    return [line]


def _groups(heads: Sequence[Any], shown: Iterable[int]) -> list[tuple[str, list[int]]]:
    """Return neighboring columns by what stands above them."""
    return [(over, list(found)) for over, found in groupby(shown, lambda i: str(heads[i]["over"]))]


def _cells(row: Any, heads: Sequence[Any], columns: Mapping[int, int]) -> Line:
    """Return a row's cells; one that spans several columns has the width of those that are shown."""
    at, found = 0, Line()
    for cell in row["cells"]:
        widths = [columns[i] for i in range(at, at + cell["span"]) if i in columns]
        if widths:
            style = "bold" if cell["best"] else "dim" if cell["gray"] else ""
            side = "center" if len(widths) > 1 else _side(heads[at])
            found.append((Text(_text(cell), style=style), _sum(widths), side))
        at += cell["span"]
    return found


def _text(cell: Any) -> str:
    """Return the text with its star and the letter of its footnote."""
    mark = str(cell["mark"])
    return str(cell["text"]) + (f" {mark}" if mark and mark[0] != "*" else mark)


# ---- widths


def _least(table: Printed, i: int) -> int:
    """Return what a column needs: numbers whole, heads and texts wrapped at their words."""
    head, cells = table["heads"][i], _own_cells(table, i)
    words = max((len(word) for part in ("text", "sub") for word in head[part].split()), default=1)
    if not _is_text(head):
        return max([words, *map(len, cells)])
    longest = max((len(word) for text in cells for word in text.split()), default=1)
    natural = max((len(text) for text in cells), default=1)
    return max(words, min(longest, LONGEST_WORD), min(natural, LEAST_TEXT if i else FIRST_TEXT))


def _own_cells(table: Printed, i: int) -> list[str]:
    """Return the texts of a column's cells without those that span several."""
    found = []
    for row in table["rows"]:
        starts = accumulate((cell["span"] for cell in row["cells"]), initial=0)
        found += [_text(c) for at, c in zip(starts, row["cells"], strict=False) if at == i and c["span"] == 1]
    return found


def _natural(table: Printed, i: int) -> int:
    head = table["heads"][i]
    return max(len(text) for text in (head["text"], head["sub"], *_own_cells(table, i)))


def _needed(table: Printed, shown: Sequence[int]) -> list[int]:
    """Return what each column needs, with room for the words above it and for cells that span several."""
    widths = {i: _least(table, i) for i in shown}
    for over, group in _groups(table["heads"], shown):
        longest = max((len(word) for word in over.split()), default=0)
        widths[group[0]] += max(0, longest - _sum([widths[i] for i in group]))
    for row in table["rows"]:
        at = 0
        for cell in row["cells"]:
            group = [i for i in range(at, at + cell["span"]) if i in widths]
            if len(group) > 1 or (group and cell["span"] > 1):
                widths[group[0]] += max(0, len(_text(cell)) - _sum([widths[i] for i in group]))
            at += cell["span"]
    return list(widths.values())


def _columns(table: Printed, width: int | None) -> list[int]:
    """Return the columns that fit: numbers are left out from the right, then texts other than the first."""
    shown = list(range(len(table["heads"])))
    while width is not None and len(shown) > 1 and _sum(_needed(table, shown)) > width:
        numbers = [i for i in shown[1:] if not _is_text(table["heads"][i])]
        shown.remove(numbers[-1] if len(numbers) > 1 else shown[-1])
    return shown


def _widths(table: Printed, shown: Sequence[int], width: int | None) -> list[int]:
    """Return widths between what columns need and what they would like."""
    widths = _needed(table, shown)
    wanted = [max(_natural(table, i), least) for i, least in zip(shown, widths, strict=True)]
    if width is None:
        return wanted
    while (rest := width - _sum(widths)) > 0 and widths != wanted:
        short = [j for j, (got, full) in enumerate(zip(widths, wanted, strict=True)) if got < full]
        for j in short[:rest]:
            widths[j] += 1
    return widths


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
