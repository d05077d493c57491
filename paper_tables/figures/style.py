"""One house style for all figures, and figures as bytes that depend on nothing but their data.

Colours are seaborn's colour-blind palette in an order that also differs in grey; every series has its own marker and
line too. STIX is a Times with all signs, next to which LaTeX text looks at home (matplotlib's cmr10 has no underscore).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTHS = {"one": 3.35, "two": 6.9}
"""Inches: a column of a two-column paper, and both."""

COLORS = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 3, 2, 1, 7, 4, 9, 5)]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<"]
LINE_STYLES: list[Any] = ["-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1))]
DIVERGING_CMAP = "RdBu_r"
"""Blue below, red above: the one colour map whose middle means something."""
SEQUENTIAL_CMAP = "viridis"
GRAY = "#5a5a5a"
FAINT = "#d9d9d9"

STYLE = {
    "font.family": ["STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.2,
    "figure.dpi": 100,
    "savefig.dpi": 220,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "dynvit",
    "pdf.fonttype": 42,
    "text.usetex": False,
    "text.parse_math": False,  # a dollar in somebody's label is a dollar
}


@contextmanager
def apply_style() -> Iterator[None]:
    """Nobody else's settings, and ours for nobody else."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box in the figure says as much
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def subplots(width: str, height: float, panels: int = 1, sharey: bool = True) -> tuple[Figure, list[Axes]]:
    figure, found = plt.subplots(1, panels, figsize=(WIDTHS[width], height), sharey=sharey, squeeze=False)
    return figure, list(found[0])


def series_style(i: int) -> dict[str, Any]:
    """Colour, marker and line of the i-th series; told apart in grey too."""
    return {
        "color": COLORS[i % len(COLORS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
    }


def clip_to_percent(low: float, high: float, unit: str, values: Iterable[float] = ()) -> tuple[float, float]:
    """What an axis must show of intervals: they may pass the ends of a percentage, the axis need not, unless values do
    (a gain may be negative, a cost may double)."""
    if unit != "%":
        return low, high
    seen = [0.0, 100.0, *values]
    return max(low, min(seen)), min(high, max(seen))


def render_files(figure: Figure, provenance: str) -> dict[str, bytes]:
    """pdf, svg and png without dates or versions, each carrying the stamp."""
    files = {}
    writers: dict[str, Callable[[io.BytesIO], None]] = {
        "pdf": lambda out: figure.savefig(
            out, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None, "Subject": provenance}
        ),
        "svg": lambda out: figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}),
        "png": lambda out: figure.savefig(out, format="png", metadata={"Software": None, "Comment": provenance}),
    }
    for ending, write in writers.items():
        out = io.BytesIO()
        write(out)
        files[ending] = out.getvalue()
    files["svg"] += f"<!-- {provenance} -->\n".encode()
    plt.close(figure)
    return files
