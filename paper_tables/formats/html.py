"""HTML: a `<table>` for the report, and a small page of its own."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from paper_tables.core.text import plain
from paper_tables.tables.grid import Cell, Grid, Head, Row

STYLE = (
    "body{font:15px/1.5 Georgia,'Times New Roman',serif;margin:2em;color:#111;background:#fff}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
    "caption{text-align:left;padding:.4em 0}thead{border-bottom:1px solid}"
    "th,td{padding:.15em .7em;text-align:left;font-weight:normal}"
    ".num{text-align:right;font-variant-numeric:tabular-nums}thead .over{text-align:center;border-bottom:1px solid}"
    ".sub{font-size:.8em;display:block}.group th{font-style:italic;padding-top:.6em}.best{font-weight:bold}"
    ".prose{white-space:normal;min-width:16em}"
    ".grey{color:#6b6b6b}.block>*{border-top:1px solid #ddd}ul{padding-left:1.2em;font-size:.9em;max-width:60em}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}.grey{color:#a0a0a0}"
    ".block>*{border-color:#444}}"
)


@dataclass(frozen=True)
class LinkBase:
    """Relative links from a page to its study's report and to the results folder."""

    report: str
    results: str


IN_REPORT, IN_TABLE_FILE = LinkBase("", "../"), LinkBase("../report.html", "../../")
"""The report itself, and a file in `tables`."""


def page(grid: Grid) -> str:
    """Return the table as an HTML page."""
    title = escape(plain(grid.caption) or grid.name)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n<style>{STYLE}</style>\n'
        f"{table(grid, IN_TABLE_FILE)}\n{notes(grid)}</html>\n<!-- {escape(grid.provenance)} -->\n"
    )


def table(grid: Grid, place: LinkBase | None = IN_REPORT) -> str:
    """Return the ``<table>`` element; every number links to its trials, unless `place` is None."""
    lines = [f'<table id="table-{escape(grid.name)}">']
    if grid.caption:
        lines.append(f'<caption><span class="stay">{escape(plain(grid.caption))}</span></caption>')
    lines += ["<thead>", *_heads(grid), "</thead>", "<tbody>"]
    above = ""
    for i, row in enumerate(grid.rows):
        if row.group:
            lines += ["</tbody><tbody>"] if i else []
            text = f'<span class="stay">{escape(plain(row.group))}</span>'
            lines.append(f'<tr class="group"><th colspan="{len(grid.heads)}" scope="rowgroup">{text}</th></tr>')
        above = row.cells[0].text or above
        lines.append(_row(grid, row, above, place))
    return "\n".join([*lines, "</tbody>", "</table>"])


def notes(grid: Grid) -> str:
    """Return the notes as a list; an empty string without notes."""
    items = [f"<li><sup>{letter}</sup> {escape(plain(text))}.</li>" for text, letter in grid.letters.items()]
    items += [f"<li>{escape(plain(note))}</li>" for note in grid.notes]
    return '<ul class="notes">\n' + "\n".join(items) + "\n</ul>\n" if items else ""


def _heads(grid: Grid) -> list[str]:
    cells = []
    for over, n in grid.overs():
        inside = f' class="over" scope="colgroup">{escape(plain(over))}' if over else ">"
        cells.append(f'<th colspan="{n}"{inside}</th>')
    above = ["<tr>" + "".join(cells) + "</tr>"] if cells else []
    return [*above, '<tr class="heads">' + "".join(map(_head, grid.heads)) + "</tr>"]


def _head(head: Head) -> str:
    sub = f'<span class="sub">{escape(plain(head.sub))}</span>' if head.sub else ""
    numeric = "" if head.words else ' class="num"'
    return f'<th scope="col"{numeric}>{escape(plain(head.shown))}{sub}</th>'


def _row(grid: Grid, row: Row, above: str, place: LinkBase | None) -> str:
    """`above` is the text that a blank first cell repeats; it is shown when the table is sorted."""
    (first, cell), *others = row.under(grid.heads)
    full = f'<td data-full="{escape(plain(above))}"></td>'
    cells = [full if not cell.text and first.words else _cell(grid, cell, first, place)]
    cells += [_cell(grid, cell, head, place) for head, cell in others]
    start = '<tr class="block">' if row.rule else "<tr>"
    return start + "".join(cells) + "</tr>"


def _cell(grid: Grid, cell: Cell, head: Head, place: LinkBase | None) -> str:
    names = (
        ["num"] * (not head.words) + ["prose"] * (head.kind == "prose") + ["best"] * cell.best + ["grey"] * cell.grey
    )
    attributes = f' class="{" ".join(names)}"' if names else ""
    if cell.span > 1:
        attributes += f' colspan="{cell.span}" style="text-align:center"'
    if cell.trials:
        attributes += f' title="n = {cell.n}: trials {escape(", ".join(cell.trials))}"'
    elif cell.origin:
        attributes += f' title="{escape(plain(cell.origin))}"'
    if cell.value is not None:
        attributes += f' data-sort="{cell.value!r}"'
    mark = grid.mark(cell)
    hung = f"<sup>{mark}</sup>" if mark else ""
    return f"<td{attributes}>{_linked(escape(cell.printed(head)), cell, place)}{hung}</td>"


def _linked(text: str, cell: Cell, place: LinkBase | None) -> str:
    if place is None or not cell.trials or cell.value is None:
        return text
    report = f"{place.results}{cell.study}/report.html" if cell.study else place.report
    marked = "" if report else f' data-trials="{escape(" ".join(cell.trials))}"'
    return f'<a class="origin" href="{escape(report)}#t-{escape(cell.trials[0])}"{marked}>{text}</a>'
