r"""LaTeX: booktabs rules, siunitx columns, notes as wide as the table. Needs booktabs, siunitx, xcolor, graphicx.

Settings are inside the table, so that it looks the same in any document. `mode=text` would give bitmap fonts for
± and −; text after a number would make siunitx overfull, so marks are put into the column gap with ``\rlap``.
"""

from __future__ import annotations

import re
import textwrap

from paper_tables.core.text import plain, tex
from paper_tables.tables.grid import Cell, Grid, Head, Row

SISETUP = (
    r"\sisetup{separate-uncertainty=true, table-align-uncertainty=false, text-series-to-math=true,"
    r" propagate-math-font=true, retain-explicit-plus=true, table-align-text-after=false}"
)
SIZES = ((r"\small", 9, 5, 0.54), (r"\footnotesize", 8, 4, 0.55), (r"\scriptsize", 7, 3, 0.59))
"""Font size as a command and in points, column gap in points, mean width of a letter over the font size: Computer
Modern grows wider as it grows smaller. LaTeX takes the first size in which a table fits."""
Size = tuple[str, int, int, float]
_MATH, _GLUE = re.compile(r"\$[^$]*\$"), "\ue001"
WIDTHS = {"one": 240, "two": 496}
"""Points: a column of a two-column paper, and both."""
LEAST_PROSE = 60
"""Points that a column of prose needs."""
LEAST_LETTERS = 50
"""Letters at which a row across all columns breaks at the earliest."""


def write(grid: Grid) -> str:
    width, sizes = _fitting(grid)
    star = "*" if width == "two" else ""
    fixed = _width(grid, *sizes[0][1:])
    prose = any(head.kind == "prose" for head in grid.heads)
    across = max(int((WIDTHS[width] if prose else fixed) / (sizes[0][1] * sizes[0][3])), LEAST_LETTERS)
    lines = [
        "% needs \\usepackage{booktabs,siunitx,xcolor,graphicx}",
        rf"\begin{{table{star}}}[htbp]",
        r"\centering\setlength{\belowcaptionskip}{6pt}",
        SISETUP,
        *([rf"\caption{{{tex(grid.caption)}}}"] if grid.caption else []),
        *([rf"\label{{{grid.label}}}"] if grid.label else []),
        r"\def\dynvittable{%",
        rf"\begin{{tabular}}{{{_columns(grid, WIDTHS[width] - fixed)}}}",
        r"\toprule",
        *_heads(grid),
        r"\midrule",
        *(line for i, row in enumerate(grid.rows) for line in _row(grid, row, i == 0, across)),
        r"\bottomrule",
        r"\end{tabular}}%",
        *_smaller(sizes),
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi\par\smallskip",
        *_notes(grid),
        rf"\end{{table{star}}}",
        f"% {tex(grid.provenance)}",
    ]
    return "\n".join(lines) + "\n"


def _smaller(sizes: tuple[Size, ...]) -> list[str]:
    """Typeset the table in the first of the sizes, then in smaller ones while it is too wide."""
    boxes = [rf"\sbox0{{{size}\setlength{{\tabcolsep}}{{{gap}pt}}\dynvittable}}" for size, _, gap, _ in sizes]
    return [boxes[0] + "%", *(rf"\ifdim\wd0>\linewidth{box}\fi" for box in boxes[1:])]


def _fitting(grid: Grid) -> tuple[str, tuple[Size, ...]]:
    """Return the table width and the font sizes to try, from the largest that fits; auto: one column if any fits."""
    least = LEAST_PROSE * sum(head.kind == "prose" for head in grid.heads)
    chosen = ("one", "two") if grid.width == "auto" else (grid.width,)
    for width in chosen:
        for i, size in enumerate(SIZES):
            if _width(grid, *size[1:]) + least <= WIDTHS[width]:
                return width, SIZES[i:] if least else SIZES
    return chosen[-1], SIZES[-1:] if least else SIZES


def _width(grid: Grid, points: int, gap: int, letter: float) -> float:
    """Estimate the width in points from the widest cell of each column; prose columns take the rest."""
    letters = 0.0
    for head, longest in zip(grid.heads, _longest(grid), strict=True):
        if head.kind != "prose":
            letters += max(longest, len(plain(head.shown)), len(plain(head.sub)) * 7 / points)
    return letters * letter * points + 2 * gap * (len(grid.heads) - 1)


def _longest(grid: Grid) -> list[int]:
    """Return the letters of the longest cell of each column."""
    return [
        max([0, *(0 if cell.empty else len(cell.printed(head)) for cell in column)])
        for head, column in zip(grid.heads, grid.columns(), strict=True)
    ]


# ---- columns and heads


def _columns(grid: Grid, prose: float) -> str:
    columns = zip(grid.heads, grid.columns(), strict=True)
    return "@{}" + " ".join(_column(head, cells, prose) for head, cells in columns) + "@{}"


def _column(head: Head, column: list[Cell], prose: float) -> str:
    if head.kind == "text":
        return "l"
    if head.kind == "prose":
        width = max(head.share * prose, LEAST_PROSE)
        return rf">{{\raggedright\arraybackslash}}p{{{width:.0f}pt}}"
    if head.kind == "count":
        return "r"
    cells = [c for c in column if c.value is not None and not c.text]
    if not cells:
        return "c"
    whole = max(len(c.number().lstrip("+-").partition(".")[0]) for c in cells)
    places = max(len(c.number().partition(".")[2]) for c in cells)
    spread = max((len(_uncertainty(c)) for c in cells if c.spread is not None), default=0)
    sign = "+" if any(c.signed for c in cells) else "-" if any((c.value or 0) < 0 for c in cells) else ""
    return f"S[table-format={sign}{whole}.{places}" + (f"({spread})]" if spread else "]")


def _heads(grid: Grid) -> list[str]:
    heads, lines = grid.heads, []
    if grid.overs():
        cells, rules, at = [], [], 1
        for over, n in grid.overs():
            cells.append(rf"\multicolumn{{{n}}}{{c}}{{{tex(over)}}}" if over else " & ".join([""] * n))
            rules += [rf"\cmidrule(lr){{{at}-{at + n - 1}}}"] if over else []
            at += n
        lines = [" & ".join(cells) + r" \\", "".join(rules)]
    lines.append(" & ".join(_head(head, head.shown) for head in heads) + r" \\")
    if any(head.sub for head in heads):
        lines.append(" & ".join(_head(head, head.sub, r"\scriptsize ") for head in heads) + r" \\")
    return lines


def _head(head: Head, text: str, size: str = "") -> str:
    return (f"{{{size}{tex(text)}}}" if head.kind == "number" else f"{size}{tex(text)}") if text else "{}"


# ---- rows


def _row(grid: Grid, row: Row, first: bool, letters: int) -> list[str]:
    """Write a row, and above it its group in lines of so many letters: a wider one would widen the last column."""
    lines = []
    if row.group:
        lines += [] if first else [r"\addlinespace"]
        for part in wrapped(row.group, letters):
            lines.append(rf"\multicolumn{{{len(grid.heads)}}}{{@{{}}l}}{{\textit{{{tex(part)}}}}} \\")
    elif row.rule:
        lines.append(r"\addlinespace[2pt]")
    cells = [_cell(grid, cell, head.kind == "number") for head, cell in row.under(grid.heads)]
    return [*lines, " & ".join(cells) + r" \\"]


def wrapped(text: str, letters: int) -> list[str]:
    """Break a text between words, but not inside mathematics."""
    whole = _MATH.sub(lambda found: found[0].replace(" ", _GLUE), text)
    lines = textwrap.wrap(whole, letters, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_GLUE, " ") for line in lines]


def _cell(grid: Grid, cell: Cell, numeric: bool) -> str:
    mark = _mark(grid, cell)
    if cell.span > 1:
        inside = rf"\num{{{_number(cell)}}}" if cell.value is not None and not _flat(cell) else _flat(cell) or "---"
        return rf"\multicolumn{{{cell.span}}}{{c}}{{{inside}{mark}}}"
    if cell.value is None or cell.text:
        text = tex(cell.text) or ("---" if numeric else "")
        text = rf"\textcolor{{black!55}}{{{text}}}" if cell.grey else rf"\textbf{{{text}}}" if cell.best else text
        return f"{{{text}{mark}}}" if numeric else f"{text}{mark}"
    style = r"\bfseries " if cell.best else r"\color{black!55} " if cell.grey else ""
    if _flat(cell):
        bold = r"\boldmath" if cell.best else ""
        return f"{{{bold}{_flat(cell)}{mark}}}"
    return f"{style}{_number(cell)}" + (f"{{{mark}}}" if mark else "")


def _flat(cell: Cell) -> str:
    """Return a number whose spread rounds to zero as math, since siunitx drops an uncertainty of zero; else ""."""
    if cell.value is None or cell.text or cell.spread is None or float(cell.uncertainty()) > 0:
        return ""
    return rf"${cell.number()}\pm{cell.uncertainty()}$"


def _number(cell: Cell) -> str:
    """Return a number for siunitx: ``76.12(10)``."""
    return cell.number() + (f"({_uncertainty(cell)})" if cell.spread is not None else "")


def _uncertainty(cell: Cell) -> str:
    return cell.uncertainty().replace(".", "").lstrip("0") or "0"


def _mark(grid: Grid, cell: Cell) -> str:
    mark = grid.mark(cell)
    return rf"\rlap{{\textsuperscript{{{mark}}}}}" if mark else ""


def _notes(grid: Grid) -> list[str]:
    letters = [rf"\textsuperscript{{{letter}}}\,{tex(text)}." for text, letter in grid.letters.items()]
    notes = [*([" ".join(letters)] if letters else []), *map(tex, grid.notes)]
    if not notes:
        return []
    width = r"\ifdim\wd0<0.75\linewidth 0.75\linewidth\else\ifdim\wd0>\linewidth\linewidth\else\wd0\fi\fi"
    return [
        rf"\begin{{minipage}}{{{width}}}\footnotesize\raggedright",
        "\\par\n".join(notes),
        r"\end{minipage}",
    ]
