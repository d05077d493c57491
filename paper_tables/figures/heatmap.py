"""Matrices over pairs of layers, one panel per arm, with one color scale centered at the chance level."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_tables.core.text import plain
from paper_tables.data.layer_pairs import matrix, pair_values
from paper_tables.figures import style
from paper_tables.figures.series import axis_label, panels_with_data
from paper_tables.schema.figures import Heatmap, Panel
from paper_tables.tables.grid import fixed
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import crossed_arms

MAX_ANNOTATED_LAYERS = 8
"""Most layers for which numbers are printed in the cells."""
Matrix = NDArray[np.float64]


def draw(spec: Heatmap, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without data are left out. Raises NoData if all are empty."""
    missing = f'no finished trial has logged "{spec.metric}" for pairs of layers'
    found = panels_with_data(spec.panels, lambda panel: _matrix(panel, spec, names), missing)
    shown = [(plain(_title(panel, names)), values) for panel, values in found]
    reach = max(float(np.nanmax(np.abs(values - spec.center))) for _, values in shown) or 1.0
    scale = Normalize(spec.center - reach, spec.center + reach)
    figure, axes = style.subplots(spec.width, spec.height or 6.4 / len(shown) + 0.55, len(shown), sharey=False)
    for ax, (title, values) in zip(axes, shown, strict=True):
        _panel(ax, values, scale, title)
    axes[0].set_ylabel("earlier layer")
    bar = style.color_bar(axes, axis_label(names, spec.metric), shrink=0.85, aspect=16, pad=0.015)
    bar.axhline(spec.center, color="black", linewidth=0.6)
    descriptions = "; ".join(_describe(title, values) for title, values in shown)
    return (
        figure,
        f"{names.metric(spec.metric).label}, earlier layer by later layer, {spec.center:g} by chance. {descriptions}.",
    )


def _matrix(panel: Panel, spec: Heatmap, names: Names) -> Matrix | None:
    arms = crossed_arms(names.frame, {**spec.filter, **panel.filter}, (), inert=False)
    table = pair_values(names.frame, arms, spec.metric)
    return None if table.empty else matrix(table, int(table["late"].max()))


def _title(panel: Panel, names: Names) -> str:
    return panel.title or ", ".join(names.setting(k, v[0]) if k != "part" else names.part(v[0]) for k, v in
                                    panel.filter.items())  # fmt: skip


def _panel(ax: Axes, values: Matrix, scale: Normalize, title: str) -> None:
    layers = len(values)
    ax.imshow(np.ma.masked_invalid(values), norm=scale, cmap=style.DIVERGING_CMAP, aspect="equal")
    ax.set_facecolor("#f2f2f2")
    style.hide_frame(ax, ticks=True)
    ticks = range(0, layers, max(1, math.ceil(layers / MAX_ANNOTATED_LAYERS)))
    ax.set_xticks(ticks, [str(i + 1) for i in ticks])
    ax.set_yticks(ticks, [str(i + 1) for i in ticks])
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=8.5)
    ax.set_xlabel("later layer")
    for (i, j), value in np.ndenumerate(values) if layers <= MAX_ANNOTATED_LAYERS else ():
        if math.isfinite(value):
            color = "white" if abs(float(scale(value)) - 0.5) > 0.33 else "black"
            ax.text(j, i, _short(float(value)), ha="center", va="center", fontsize=5.5, color=color)


def _short(value: float) -> str:
    """Return ".31" or "−.12", without the leading zero."""
    text = fixed(value, 2).replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text[:-1]


def _describe(title: str, values: Matrix) -> str:
    lowest, highest = np.nanmin(values), np.nanmax(values)
    return f"{title}: {lowest:.2f} to {highest:.2f}, mean {np.nanmean(values):.2f}"
