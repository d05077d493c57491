"""One style for all figures, and figure files whose bytes depend on their data only.

Figures are made without pyplot: its backend, and the figures that it shows in a notebook, are the user's own.

Colors are seaborn's color-blind palette in an order that also differs in gray; every series has its own marker and
line too. STIX is a Times with all signs, next to which LaTeX text looks at home (matplotlib's cmr10 has no underscore).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTHS = {"one": 3.35, "two": 6.9}
"""Inches: a column of a two-column paper, and both."""

COLORS = [sns.color_palette("colorblind").as_hex()[i] for i in (0, 3, 2, 1, 7, 4, 9, 5)]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "<"]
LINE_STYLES: list[Any] = ["-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1))]
DIVERGING_CMAP = "RdBu_r"
"""Diverging color map: blue below the center, red above."""
SEQUENTIAL_CMAP = "viridis"
GRAY = "#5a5a5a"
FAINT = "#d9d9d9"

_CLIP = re.compile(rb"(?<=[#\"])p[0-9a-f]{10}(?=[)\"])")
Look = dict[str, Any]
"""Color, marker and line style of a series."""
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
    "text.parse_math": False,  # labels may contain dollars
}


@contextmanager
def apply_style() -> Iterator[None]:
    """Apply the style inside the context only, independent of the user's settings."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the figure shows a box instead
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def subplots(width: str, height: float, panels: int = 1, sharey: bool = True) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTHS[width], height))
    return figure, list(figure.subplots(1, panels, sharey=sharey, squeeze=False)[0])


def hide_frame(ax: Axes, ticks: bool = False) -> None:
    """Remove grid and frame of a picture or a matrix, and its ticks unless `ticks`."""
    if not ticks:
        ax.set_xticks([])
        ax.set_yticks([])
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)


def color_bar(axes: list[Axes], label: str, shrink: float, aspect: float, pad: float) -> Axes:
    """Draw the scale of the last of the axes to the right of all; return its axes."""
    figure = axes[0].figure
    bar = figure.colorbar(axes[-1].images[0], ax=axes, shrink=shrink, aspect=aspect, pad=pad)
    bar.set_label(label)
    bar.outline.set_visible(False)
    scale: Axes = bar.ax
    return scale


def series_style(i: int) -> Look:
    """Return color, marker and line style of the i-th series; distinguishable in grayscale."""
    return {
        "color": COLORS[i % len(COLORS)],
        "marker": MARKERS[(i + i // len(COLORS)) % len(MARKERS)],  # another one when a color comes again
        "linestyle": LINE_STYLES[i % len(LINE_STYLES)],
    }


def clip_to_percent(low: float, high: float, unit: str, values: Iterable[float] = ()) -> tuple[float, float]:
    """Clip axis limits of a percentage to 0..100 even if intervals exceed them, unless values do
    (a gain may be negative, a cost may double)."""
    if unit != "%":
        return low, high
    seen = [0.0, 100.0, *values]
    return max(low, min(seen)), min(high, max(seen))


def render_files(figure: Figure, provenance: str) -> dict[str, bytes]:
    """pdf, svg and png without dates or versions, each with its provenance."""
    metadata: dict[str, dict[str, str | None]] = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Subject": provenance},
        "svg": {"Date": None, "Creator": None},
        "png": {"Software": None, "Comment": provenance},
    }
    files = {}
    for ending, about in metadata.items():
        out = io.BytesIO()
        figure.savefig(out, format=ending, metadata=about)
        files[ending] = out.getvalue()
    files["svg"] = _numbered_clips(files["svg"]) + f"<!-- {provenance} -->\n".encode()
    return files


def _numbered_clips(svg: bytes) -> bytes:
    """Number the clip paths: matplotlib names those that are no rectangles by their place in memory."""
    clips = {name: b"clip%d" % i for i, name in enumerate(dict.fromkeys(_CLIP.findall(svg)))}
    return _CLIP.sub(lambda found: clips[found[0]], svg)
