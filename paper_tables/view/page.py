"""HTML of objects in a notebook: one scoped style, in the colors of the notebook, light or dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = (
    ".dynvit{font-size:13px;line-height:1.45;max-width:75em}"
    ".dynvit table{border-collapse:collapse;border:0;border-top:2px solid;border-bottom:2px solid;margin:.4em 0}"
    ".dynvit caption{text-align:left;caption-side:top;padding:.4em 0;color:inherit}"
    ".dynvit thead,.dynvit tbody,.dynvit tr{border:0;background:none!important}"
    ".dynvit thead{border-bottom:1px solid}"
    ".dynvit th,.dynvit td{padding:.12em .7em;text-align:left!important;font-weight:normal;border:0;"
    "vertical-align:top;white-space:nowrap}"
    ".dynvit th.num,.dynvit td.num{text-align:right!important;font-variant-numeric:tabular-nums}"
    ".dynvit thead .over{text-align:center!important;border-bottom:1px solid}"
    ".dynvit .sub{font-size:.85em;display:block}.dynvit .group th{font-style:italic;padding-top:.6em}"
    ".dynvit .best{font-weight:bold}.dynvit .prose{white-space:normal;min-width:16em}.dynvit .grey{opacity:.6}"
    ".dynvit .block>*{border-top:1px solid #8886}.dynvit ul{padding-left:1.2em;margin:.3em 0;font-size:.92em}"
    ".dynvit figure{margin:.4em 0}.dynvit figcaption{max-width:60em}.dynvit h4{margin:.2em 0;font-size:1.1em}"
    ".dynvit pre{white-space:pre-wrap;font-size:12px;line-height:1.4;margin:.4em 0}.dynvit p{margin:.3em 0}"
    ".dynvit img{max-width:100%;background:#fff}.dynvit summary{cursor:pointer}"
)


def framed(*bodies: str) -> str:
    """Return the HTML of one output."""
    return f'<div class="dynvit"><style>{STYLE}</style>{"".join(bodies)}</div>'


def heading(text: str) -> str:
    return f"<h4>{escape(text)}</h4>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def items(lines: Iterable[str]) -> str:
    found = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{found}</ul>" if found else ""


def text(lines: Iterable[str]) -> str:
    """Return lines as they are typed."""
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def folded(summary: str, body: str) -> str:
    """Return what is shown when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def plain_table(heads: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a table of texts and numbers; numbers, and texts that begin with one, are set to the right."""
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    lines = [list(row) for row in rows]
    columns = [[line[i] for line in lines] for i in range(len(heads))]
    right = [any(map(str, cells)) and all(map(_numeric, cells)) for cells in columns]
    kinds = [' class="num"' if numeric else "" for numeric in right]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for kind, text in zip(kinds, heads, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{escape(str(cell))}</td>" for kind, cell in zip(kinds, line, strict=True))
        + "</tr>"
        for line in lines
    )
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _numeric(cell: object) -> bool:
    return isinstance(cell, int | float) or str(cell).lstrip("+-−")[:1].isdigit() or str(cell) in ("", "—")
