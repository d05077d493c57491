"""Matrices over pairs of layers, one panel per arm, with one color scale centered at the chance level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from paper_tables.core.text import plain
from paper_tables.data.layer_pairs import matrix, pair_values
from paper_tables.figures import style
from paper_tables.schema.figures import Heatmap, Panel
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import filter_arms

MAX_ANNOTATED_LAYERS = 8
"""Most layers for which numbers are printed in the cells."""
Matrix = NDArray[np.float64]


def draw(spec: Heatmap, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without data are left out. Raises NoData if all are empty."""
    found = [(panel, _matrix(panel, spec, names)) for panel in spec.panels]
    shown = [(panel, values) for panel, values in found if values is not None]
    if not shown:
        raise NoData(f'no finished trial has logged "{spec.metric}" for pairs of layers')
    reach = max(float(np.nanmax(np.abs(values - spec.center))) for _, values in shown) or 1.0
    scale = Normalize(spec.center - reach, spec.center + reach)
    figure, axes = style.subplots(spec.width, spec.height or 6.4 / len(shown) + 0.55, len(shown), sharey=False)
    for i, (ax, (panel, values)) in enumerate(zip(axes, shown, strict=True)):
        _panel(ax, values, scale, plain(_title(panel, names)), first=i == 0)
    bar = figure.colorbar(axes[-1].images[0], ax=axes, shrink=0.85, aspect=16, pad=0.015)
    quantity = names.metric(spec.metric)
    bar.set_label(plain(with_unit(quantity.label, quantity.unit)))
    bar.outline.set_visible(False)
    bar.ax.axhline(spec.center, color="black", linewidth=0.6)
    descriptions = "; ".join(_describe(plain(_title(panel, names)), values) for panel, values in shown)
    return figure, f"{quantity.label}, earlier layer by later layer, {spec.center:g} by chance. {descriptions}."


def _matrix(panel: Panel, spec: Heatmap, names: Names) -> Matrix | None:
    arms = filter_arms(names.frame, {**spec.filter, **panel.filter})
    table = pair_values(names.frame, arms, spec.metric)
    if table.empty:
        return None
    return matrix(table, int(table["late"].max()), spec.symmetric)


def _title(panel: Panel, names: Names) -> str:
    return panel.title or ", ".join(names.setting(k, v[0]) if k != "part" else names.part(v[0]) for k, v in
                                    panel.filter.items())  # fmt: skip


def _panel(ax: Axes, values: Matrix, scale: Normalize, title: str, first: bool) -> None:
    layers = len(values)
    ax.imshow(np.ma.masked_invalid(values), norm=scale, cmap=style.DIVERGING_CMAP, aspect="equal")
    ax.set_facecolor("#f2f2f2")
    ax.grid(False)
    ticks = range(0, layers, max(1, math.ceil(layers / MAX_ANNOTATED_LAYERS)))
    ax.set_xticks(ticks, [str(i + 1) for i in ticks])
    ax.set_yticks(ticks, [str(i + 1) for i in ticks])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_title(title, fontsize=8.5)
    ax.set_xlabel("later layer")
    if first:
        ax.set_ylabel("earlier layer")
    if layers <= MAX_ANNOTATED_LAYERS:
        for (i, j), value in np.ndenumerate(values):
            if math.isfinite(value):
                ax.text(
                    j, i, _short(float(value)), ha="center", va="center", fontsize=5.5, color=_text_color(scale(value))
                )


def _short(value: float) -> str:
    """Return ".31" or "−.12", without the leading zero."""
    text = f"{value:.2f}".replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text[:-1]


def _text_color(place: Any) -> str:
    return "white" if abs(float(place) - 0.5) > 0.33 else "black"


def _describe(title: str, values: Matrix) -> str:
    lowest, highest = np.nanmin(values), np.nanmax(values)
    return f"{title}: {lowest:.2f} to {highest:.2f}, mean {np.nanmean(values):.2f}"
