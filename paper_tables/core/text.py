r"""Text for LaTeX and for plain formats.

Texts of a table file may contain mathematics between dollars (``$\Delta$``). Names that come from a frame are passed
through `literal` first, so that a dollar in a user's label stays a dollar.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_DOLLAR = "\ue000"
_MATH = re.compile(r"\$([^$]*)\$")
_SIGNS = {
    r"\Delta": "Δ", r"\pm": "±", r"\times": "×", r"\alpha": "α", r"\beta": "β", r"\sigma": "σ", r"\mu": "μ",
    r"\ge": "≥", r"\le": "≤", r"\to": "→", r"\uparrow": "↑", r"\downarrow": "↓",
    r"\%": "%", r"\,": " ", r"\cdot": "·", r"\approx": "≈", "-": "−",
}  # fmt: skip
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "$": r"\$", _DOLLAR: r"\$", '"': "''", "Δ": r"$\Delta$", "±": r"$\pm$", "×": r"$\times$",
    "−": "$-$", "≥": r"$\ge$", "≤": r"$\le$", "→": r"$\to$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "α": r"$\alpha$", "β": r"$\beta$", "μ": r"$\mu$",
    "σ": r"$\sigma$", "λ": r"$\lambda$", "≈": r"$\approx$", "·": r"$\cdot$", "—": "---", "–": "--", "…": r"\ldots{}",
    "“": "``", "”": "''", "‘": "`", "’": "'", "\u00a0": "~", "\u202f": r"\,",
}  # fmt: skip


def escape_markup(name: str) -> str:
    """Return a name from a frame with no markup: dollars are kept, control characters become spaces."""
    clean = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in name)
    return clean.replace("$", _DOLLAR)


def placeholders(text: str) -> list[str]:
    """Return the names in braces outside mathematics: ``variant`` of ``{variant} at $x_{1}$``."""
    return re.findall(r"\{([A-Za-z_]\w*)\}", _MATH.sub("", text))


def plain(text: str) -> str:
    """Return the text for Markdown, HTML, CSV and figures."""
    return _MATH.sub(lambda m: _sign(m[1]), text).replace(_DOLLAR, "$")


def _sign(math: str) -> str:
    for command, sign in _SIGNS.items():
        math = re.sub(re.escape(command) + (r"(?![A-Za-z])" if command[-1].isalpha() else ""), sign, math)
    return math.replace("{", "").replace("}", "").replace("\\", "")


def tex(text: str) -> str:
    """Return the text for LaTeX, with everything outside mathematics escaped."""
    pieces = _MATH.split(text)
    return "".join(f"${piece}$" if i % 2 else "".join(map(_letter, piece)) for i, piece in enumerate(pieces))


def _letter(c: str) -> str:
    if c in _TEX:
        return _TEX[c]
    if ord(c) < 256 or unicodedata.normalize("NFD", c)[0] < "\x7f":
        return c  # inputenc's utf8 knows Latin letters with their accents
    return f"[U+{ord(c):04X}]"  # pdflatex stops at letters it has no font for


_FORMULA = re.compile(r"'*[=+\-@\t\r＝＋－＠]")
_NO_FORMULA = re.compile(r"[=+-]|[+-]?[\d.]+(?:[eE][+-]?\d+)?(?:[\d.,%() −]|/−|to)*")
"""Signs and numbers, also with what tables print after them: an interval, a unit, a second count."""


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV that pandas reads with comment="#" and in which spreadsheets find no formulas."""
    return "".join(",".join(_csv_cell(to_csv(str(cell))) for cell in row) + "\n" for row in rows)


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",#\r\n]', text) else text


def to_csv(text: str) -> str:
    """Return the text with an apostrophe in front if a spreadsheet would take it for a formula."""
    return f"'{text}" if _FORMULA.match(text) and not _NO_FORMULA.fullmatch(text) else text


def from_csv(text: str) -> str:
    """Return the text that `to_csv` was given."""
    return text[1:] if text[:1] == "'" and to_csv(text[1:]) == text else text


def two_digits(value: float) -> str:
    """Return a number rounded to two digits, below a million without an exponent: 110, 5.2, 0.031."""
    return f"{float(f'{value:.2g}'):g}"


def join_and(items: list[str], last: str = "and") -> str:
    """Return ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def join_seeds(seeds: list[int]) -> str:
    """Return ``0, 1 and 2``, and ``0 to 19`` for four or more that follow each other."""
    runs = list[list[int]]()
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    told = [[f"{run[0]} to {run[-1]}"] if len(run) > 3 else [str(seed) for seed in run] for run in runs]
    return join_and([text for texts in told for text in texts])


def shorten(items: list[str], most: int, separator: str = ", ") -> str:
    """Return ``a, b and 3 more`` for more than `most` items, else all of them."""
    rest = len(items) - most
    return separator.join(items[:most]) + (f" and {rest} more" if rest > 0 else "")
