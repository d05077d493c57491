"""Curves over training, and a per-layer metric over depth: panels of lines, mean over seeds with a band."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.core.text import join_and, plain
from paper_tables.data.frame import Arm, Frame
from paper_tables.figures import style
from paper_tables.figures.series import (
    FEW_SEEDS,
    Track,
    axis_label,
    draw_chance,
    legend_above,
    panels_with_data,
    plot_tracks,
    tracks,
)
from paper_tables.schema.figures import Curves, Panel
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import crossed_arms, levels

MOST_STEPS = 1000
"""Of a curve that are drawn: more than a page has pixels, and a file with millions opens nowhere."""
MAX_LEGEND_BELOW = 6
"""A legend with more entries is placed to the right of its panel."""
Window = tuple[float, float]
"""Limits of the y axis."""


def draw(spec: Curves, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without data are left out.

    Raises NoData if all are empty, or if curves over training are coloured by an axis of which each panel has one
    level: nothing is compared.
    """
    if spec.kind == "curves":
        _refuse_one_level(spec, names)
    missing = f'no finished trial has logged "{spec.metric}"'
    panels = panels_with_data(spec.panels, lambda panel: _tracks(panel, spec, names), missing)
    lines = [track for _, found in panels for track in found]
    windows = [_window(found, spec, names.metric(spec.metric).unit) for _, found in panels]
    union = min(low for low, _ in windows), max(high for _, high in windows)
    shared = all(high - low >= (union[1] - union[0]) / 2 for low, high in windows)  # each fills at least half of it
    figure, axes = style.subplots(spec.width, spec.height or 2.5, len(panels), sharey=shared)
    for ax, (_, found), window in zip(axes, panels, windows, strict=True):
        if spec.chance is not None:
            draw_chance(ax, spec.chance, "right")
        plot_tracks(ax, found, _along(names.frame, spec), ticks=7, markers=8)
        ax.set_ylim(union if shared else window)
    titles = [plain(_title(panel, spec, names)) for panel, _ in panels]
    _legends(axes, titles)
    for ax in axes[1:] if shared else []:
        ax.tick_params(axis="y", length=0)
    axes[0].set_ylabel(axis_label(names, spec.metric, _unit(spec, names, lines)))
    ends = [join_and([f"{t.label} ends at {t.mean[-1]:.2f}" for t in found]) for _, found in panels]
    entries = "; ".join(f"{title}: {end}" if title else end for title, end in zip(titles, ends, strict=True))
    along = "layer by layer" if spec.kind == "layers" else "epoch by epoch"
    return figure, f"Lines of {names.metric(spec.metric).label}, {along}. {entries}."


def _refuse_one_level(spec: Curves, names: Names) -> None:
    """Raise NoData if each panel is coloured by an axis of which one level was planned: nothing is compared."""
    alone = ""
    for panel in spec.panels:
        axis, chosen = panel.color or "part", {**spec.filter, **panel.filter}
        found = levels(names.frame, _arms(panel, spec, names), axis, chosen)
        if axis == "part" or len(found) > 1 or chosen.get(axis) == tuple(found):
            return
        alone = f"one level of {axis} alone was run, {found[0]}: nothing is compared" if found else alone
    if alone:
        raise NoData(alone)


def _arms(panel: Panel, spec: Curves, names: Names) -> list[Arm]:
    return crossed_arms(names.frame, {**spec.filter, **panel.filter}, [panel.color or ""], inert=False)


def _along(frame: Frame, spec: Curves) -> str:
    """Return the name of the x axis, and that not every step is drawn where that is so."""
    if spec.kind == "layers":
        return "Layer"
    longest = max((len(curve) for curve in frame.logged[spec.metric].values()), default=0)
    return "Epoch" if longest <= MOST_STEPS else f"Epoch ({MOST_STEPS} of them drawn)"


def _tracks(panel: Panel, spec: Curves, names: Names) -> list[Track] | None:
    points = _depth if spec.kind == "layers" else _steps
    return tracks(
        names,
        _arms(panel, spec, names),
        panel.color,
        lambda group: points(names.frame, group, spec.metric),
        spec.error,
        names.metric(spec.metric).unit,
    )


def _steps(frame: Frame, arms: list[Arm], metric: str) -> pd.DataFrame:
    return _thinned(pd.concat([frame.curve(arm, metric) for arm in arms]).rename(columns={"step": "x"}))


def _thinned(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points at `MOST_STEPS` of the steps of trials that logged more, evenly from the first to the last."""
    logged = points.groupby("trial")["x"].transform("size")
    steps = np.unique(points.loc[logged > MOST_STEPS, "x"])
    if not len(steps):
        return points
    kept = steps[np.unique(np.linspace(0, len(steps) - 1, MOST_STEPS).astype(int))]
    return points[(logged <= MOST_STEPS) | points["x"].isin(kept)]


def _depth(frame: Frame, arms: list[Arm], metric: str) -> pd.DataFrame:
    """Return the last value of every layer's metric."""
    tables = [pd.DataFrame({"x": [], "trial": [], "value": []})]
    for name in frame.curve_metrics():
        layer = re.fullmatch(re.escape(metric) + r"(\d+)", name)
        if layer is not None:
            found = pd.concat([frame.curve(arm, name) for arm in arms]).sort_values("step").groupby("trial").tail(1)
            tables.append(found.assign(x=int(layer[1]) + 1))
    return pd.concat(tables[1:] or tables)


def _title(panel: Panel, spec: Curves, names: Names) -> str:
    """Return the panel's own title, else its part if the study has several."""
    parts = {**spec.filter, **panel.filter}.get("part", ())
    return panel.title or (names.part(parts[0]) if len(parts) == 1 and len(names.frame.parts) > 1 else "")


def _legends(axes: list[Axes], titles: list[str]) -> None:
    """Draw one legend for panels with the same lines, else one per panel; a long one to the right of a single panel."""
    entries = [ax.get_legend_handles_labels() for ax in axes]
    count, figure = len(entries[0][1]), axes[0].figure
    if len(axes) > 1 and all(labels == entries[0][1] for _, labels in entries):
        figure.legend(*entries[0], loc="outside upper center", ncols=min(count, 5))
    elif len(axes) == 1 and count > MAX_LEGEND_BELOW:
        figure.legend(*entries[0], loc="outside right center")
    else:
        for ax, title in zip(axes, titles, strict=True):
            legend_above(ax, title)
        return
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)


def _window(found: list[Track], spec: Curves, unit: str) -> Window:
    """Return the limits of a panel: shares go from 0 to 1; curves with a steep start show their last part, where
    the lines differ."""
    values = [m for track in found for m in track.mean]
    if spec.kind == "layers" and max(values) <= 1 + 1e-6:
        return 0.0, 1.06
    bands = [edge for track in found for edges in (track.low, track.high) for edge in edges]
    bands += [value for track in found if len(track.seeds) <= FEW_SEEDS for _, y in track.seeds for value in y]
    bands += [] if spec.chance is None else [spec.chance]
    low, high = style.clip_to_percent(min(bands), max(bands), unit, values)
    late = [m for track in found for m in track.mean[len(track.mean) // 3 :]]
    room = max(late) - min(late)
    if spec.kind == "curves" and room and max(values) - min(values) > 6 * room:
        return min(late) - 1.0 * room, max(late) + 0.25 * room
    return low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0)


def _unit(spec: Curves, names: Names, found: list[Track]) -> str:
    unit = names.metric(spec.metric).unit
    if spec.kind == "layers" and not unit:
        return "share" if max(m for track in found for m in track.mean) <= 1.0 + 1e-6 else "count"
    return unit
