"""Test images with their tokens: active tokens per layer, importance ranks per layer, or depth of each token."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from paper_tables.core.text import join_and, plain
from paper_tables.data.token_maps import ACTIVE, PAUSED, PRUNED, RESTARTED, STATES, Array, TokenMaps, read_token_maps
from paper_tables.figures import style
from paper_tables.figures.series import panels_with_data
from paper_tables.schema.figures import Maps, Panel
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import filter_arms

STATE_COLORS = {RESTARTED: (style.COLORS[3], 0.7), PAUSED: (style.COLORS[0], 0.85), PRUNED: ("#cfcfcf", 0.9)}
"""Color and opacity over a token's patch, by state."""
MAX_CELL_INCHES = 1.0
"""Largest size of an image or map, in inches."""
MARGIN_INCHES = 1.75
"""Inches for labels on the left and the color bar on the right."""
MAX_LAYERS = 12
"""Most layers side by side."""
WHAT = {
    "layers": "Active tokens of each layer, for a few test images",
    "importance": "Importance rank of the tokens in each layer, for a few test images",
    "depth": "Number of layers in which each token of a few test images is active",
}
Shown = list[tuple[str, TokenMaps]]


def draw(spec: Maps, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without maps are left out. Raises NoData if all are."""
    found = panels_with_data(
        spec.panels, lambda panel: _maps(panel, spec, names), "no finished trial has left token maps"
    )
    shown = [(plain(panel.title), maps) for panel, maps in found]
    figure = _depths(spec, shown) if spec.show == "depth" else _layers(spec, shown)
    descriptions = "; ".join(_describe(title, maps, spec.show) for title, maps in shown)
    return figure, f"{WHAT[spec.show]}. {descriptions}."


def _maps(panel: Panel, spec: Maps, names: Names) -> TokenMaps | None:
    """Return the token maps of the first arm and trial that has some."""
    arms = filter_arms(names.frame, {**spec.filter, **panel.filter})
    files = [names.frame.maps[t] for arm in arms for t in names.frame.finished_trials(arm) if t in names.frame.maps]
    maps = read_token_maps(files[0]) if files else None
    return maps if maps and (maps.scored or spec.show != "importance") else None


def _layers(spec: Maps, shown: Shown) -> Figure:
    """One row per image, panels below each other; the image, then a column per layer."""
    columns = [_columns(maps, spec.show) for _, maps in shown]
    rows = [min(spec.images, len(maps.images)) for _, maps in shown]
    wide = 1 + max(len(layers) for layers in columns)
    cell = min((style.WIDTHS[spec.width] - 0.25) / wide, MAX_CELL_INCHES)
    height = spec.height or cell * sum(rows) + 0.17 * len(shown) + 0.25 * (spec.show == "layers")
    figure = _figure(cell * wide + 0.25, height)
    parts = figure.subfigures(len(rows), 1, height_ratios=rows, squeeze=False)[:, 0]
    for part, (title, maps), layers, count in zip(parts, shown, columns, rows, strict=True):
        axes = part.subplots(count, wide, squeeze=False)
        for i in range(count):
            _show(axes[i][0], maps.images[i], cmap="gray", vmin=0, vmax=1)
            for j in range(1, wide):
                axes[i][j].set_axis_off()
            for j, layer in enumerate(layers, 1):
                axes[i][j].set_axis_on()
                _cell(axes[i][j], maps, i, layer, spec.show)
        for j, layer in enumerate(layers, 1):
            axes[0][j].set_title(f"layer {layer}" if j == 1 else str(layer), fontsize=7.5, pad=2)
        axes[count // 2][0].set_ylabel(title, fontsize=8, y=0.5 if count % 2 else 1.0)
    if spec.show == "layers":
        _legend(figure, [maps for _, maps in shown])
    for part in parts if spec.show == "importance" else ():
        bar = part.colorbar(ScalarMappable(Normalize(0, 1), style.SEQUENTIAL_CMAP), ax=part.axes, aspect=18, pad=0.02)
        bar.set_label("rank (1: highest)")
        bar.outline.set_visible(False)
    return figure


def _depths(spec: Maps, shown: Shown) -> Figure:
    """One column per image; the images, then a row per panel, all on one scale."""
    count = min(spec.images, *(len(maps.images) for _, maps in shown))
    cell = min((style.WIDTHS[spec.width] - MARGIN_INCHES) / count, MAX_CELL_INCHES)
    figure = _figure(cell * count + MARGIN_INCHES, spec.height or cell * (1 + len(shown)))
    axes = figure.subplots(1 + len(shown), count, squeeze=False)
    scale = Normalize(0, max(maps.active.shape[1] for _, maps in shown))
    for i in range(count):
        _show(axes[0][i], shown[0][1].images[i], cmap="gray", vmin=0, vmax=1)
        for row, (_, maps) in enumerate(shown, 1):
            _show(axes[row][i], maps.depth[i], norm=scale, cmap=style.SEQUENTIAL_CMAP)
    for row, title in enumerate(["image", *(title for title, _ in shown)]):
        axes[row][0].set_ylabel(title.replace(" (", "\n("), rotation=0, ha="right", va="center", fontsize=8)
    style.color_bar(list(axes.flat), "layers with the token active", shrink=0.9, aspect=18, pad=0.02)
    return figure


def _figure(width: float, height: float) -> Figure:
    """Return a figure with small margins."""
    engine = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.015, wspace=0.0, hspace=0.0)
    return Figure(figsize=(width, height), layout=engine)


def _show(ax: Axes, image: Array, **look: Any) -> None:
    ax.imshow(image, interpolation="nearest", **look)
    style.hide_frame(ax)


def _columns(maps: TokenMaps, show: str) -> list[int]:
    """Return the layers to show, from 1; evenly spaced if there are more than `MAX_LAYERS`."""
    layers = list(range(1, maps.active.shape[1] + 1)) if show == "layers" else maps.scored
    if len(layers) <= MAX_LAYERS:
        return layers
    return [layers[round(i)] for i in np.linspace(0, len(layers) - 1, MAX_LAYERS)]


def _cell(ax: Axes, maps: TokenMaps, image: int, layer: int, show: str) -> None:
    if show == "importance":
        _show(ax, maps.importance[image, maps.scored.index(layer)], vmin=0, vmax=1, cmap=style.SEQUENTIAL_CMAP)
    else:
        _show(ax, overlay_states(maps.images[image], maps.states[image, layer - 1]))


def overlay_states(image: Array, state: Array) -> Array:
    """The image as RGB, enlarged to whole pixels per token, covered according to each token's state."""
    rgb = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image
    rows, columns = state.shape
    each = max(1, -(-max(rgb.shape[:2]) // max(rows, columns)))
    y, x = (np.arange(each * n) * size // (each * n) for n, size in zip(state.shape, rgb.shape[:2], strict=True))
    rgb = rgb[y][:, x].astype(float)
    fine = state.repeat(each, 0).repeat(each, 1)
    for value, (color, strength) in STATE_COLORS.items():
        inside = fine == value
        rgb[inside] = (1 - strength) * rgb[inside] + strength * np.array(to_rgb(color))
    return np.asarray(rgb)


def _legend(figure: Figure, shown: list[TokenMaps]) -> None:
    """Draw the legend of the states that occur."""
    found = {int(value) for maps in shown for value in np.unique(maps.states)}
    handles = [Patch(facecolor="black", label=STATES[ACTIVE])]
    handles += [Patch(facecolor=c, alpha=a, label=STATES[v]) for v, (c, a) in STATE_COLORS.items() if v in found]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), handlelength=1.2)


def _describe(title: str, maps: TokenMaps, show: str) -> str:
    if show == "depth":
        return f"{title}: {maps.depth.min()} to {maps.depth.max()} of {maps.active.shape[1]} layers"
    if show == "importance":
        return f"{title}: by {maps.kind}, layers {join_and([str(i) for i in maps.scored])}"
    counts = [f"{100 * (maps.states == v).mean():.0f} % {STATES[v]}" for v in (ACTIVE, RESTARTED, PAUSED, PRUNED)]
    return f"{title}: {join_and(counts)}"
