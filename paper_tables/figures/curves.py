"""Curves over training, and a per-layer metric over depth: panels of lines, mean over seeds with a band."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from paper_tables.core.statistics import MIN_SEEDS, t_quantile
from paper_tables.core.text import join_and, plain
from paper_tables.data.frame import Arm, Frame
from paper_tables.figures import style
from paper_tables.figures.line import groups
from paper_tables.schema.figures import Curves, Layers, Panel
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import crossed_arms

MAX_LEGEND_BELOW = 6
"""A legend with more entries is placed to the right of its panel."""


@dataclass(frozen=True)
class Track:
    """One line: x, mean and half width of the band (0 below three seeds)."""

    label: str
    x: list[float]
    mean: list[float]
    half_width: list[float]


def draw(spec: Curves | Layers, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without data are left out. Raises NoData if all are empty."""
    panels = [(panel, _tracks(panel, spec, names)) for panel in spec.panels]
    panels = [(panel, tracks) for panel, tracks in panels if tracks]
    if not panels:
        raise NoData(f'no finished trial has logged "{spec.metric}"')
    unit = names.metric(spec.metric).unit
    windows = [_window(tracks, spec, unit) for _, tracks in panels]
    shared = _can_share_axis(windows)
    figure, found = style.subplots(spec.width, spec.height or 2.5, len(panels), sharey=shared)
    for ax, (_, tracks), window in zip(found, panels, windows, strict=True):
        _panel(ax, tracks, spec)
        ax.set_ylim(_union(windows) if shared else window)
    _legends(found, [plain(_title(panel, spec, names)) for panel, _ in panels])
    for ax in found[1:] if shared else []:
        ax.tick_params(axis="y", length=0)
    found[0].set_ylabel(_ylabel(spec, names, [t for _, tracks in panels for t in tracks]))
    return figure, _words(spec, names, panels)


def _tracks(panel: Panel, spec: Curves | Layers, names: Names) -> list[Track]:
    frame = names.frame
    chosen = {**spec.filter, **panel.filter}
    arms = crossed_arms(frame, chosen, [panel.color] if panel.color not in (None, "part") else [])
    tracks = []
    for level, group in groups(frame, _inside(arms, chosen), panel.color).items():
        points = finite(_steps(frame, group, spec) if isinstance(spec, Curves) else _depth(frame, group, spec))
        if points.empty:
            continue
        label = names.part(level) if panel.color == "part" else names.setting(panel.color or "", level) if level else ""
        tracks.append(track(plain(label or names.arm(group[0])), points, spec.error))
    return tracks


def _inside(arms: list[Arm], chosen: dict[str, Any]) -> list[Arm]:
    """Drop arms in which a filtered axis is inert, which `crossed_arms` keeps."""
    return [arm for arm in arms if all(k == "part" or arm.coords.get(k) in v for k, v in chosen.items())]


def _steps(frame: Frame, arms: list[Arm], spec: Curves) -> pd.DataFrame:
    found = pd.concat([frame.curve(arm, spec.metric) for arm in arms])
    return found.rename(columns={"step": "x"})[["x", "trial", "value"]]


def _depth(frame: Frame, arms: list[Arm], spec: Layers) -> pd.DataFrame:
    """Return the last value of every layer's metric."""
    tables = []
    for name in frame.curve_metrics():
        layer = re.fullmatch(re.escape(spec.metric) + r"(\d+)", name)
        if layer is None:
            continue
        found = pd.concat([frame.curve(arm, name) for arm in arms]).sort_values("step").groupby("trial").tail(1)
        tables.append(found.assign(x=int(layer[1]) + 1)[["x", "trial", "value"]])
    return pd.concat(tables) if tables else pd.DataFrame({"x": [], "trial": [], "value": []})


def finite(points: pd.DataFrame) -> pd.DataFrame:
    """Drop values that are not finite (diverged trials)."""
    return points.loc[np.isfinite(points["value"].astype(float))]


def track(label: str, points: pd.DataFrame, error: str) -> Track:
    """Return the mean line of points (columns x, trial, value; at least one, all finite)."""
    table = points.groupby("x")["value"].agg(["mean", "std", "count"]).sort_index()
    half_widths = []
    for sd, n in zip(table["std"], table["count"], strict=True):
        factor = {"t95": t_quantile(int(n), 0.95) / n**0.5 if n >= MIN_SEEDS else 0.0, "sd": 1.0, "none": 0.0}[error]
        half_widths.append(float(factor * sd) if n >= MIN_SEEDS else 0.0)
    return Track(label, [float(x) for x in table.index], [float(m) for m in table["mean"]], half_widths)


def _title(panel: Panel, spec: Curves | Layers, names: Names) -> str:
    """Return the panel's own title, else its part if the study has several."""
    parts = {**spec.filter, **panel.filter}.get("part", ())
    return panel.title or (names.part(parts[0]) if len(parts) == 1 and len(names.frame.parts) > 1 else "")


def plot_track(ax: Axes, track: Track, i: int, every: int = 1) -> None:
    """Draw the i-th line with a marker at each `every`-th point, and its band."""
    look = style.series_style(i)
    ax.plot(track.x, track.mean, label=track.label, markevery=every, **look)
    low = [m - h for m, h in zip(track.mean, track.half_width, strict=True)]
    high = [m + h for m, h in zip(track.mean, track.half_width, strict=True)]
    ax.fill_between(track.x, low, high, color=look["color"], alpha=0.15, linewidth=0)


def _panel(ax: Axes, tracks: list[Track], spec: Curves | Layers) -> None:
    for i, track in enumerate(tracks):
        plot_track(ax, track, i, max(1, len(track.x) // 8))
    ax.set_xlabel("Epoch" if isinstance(spec, Curves) else "Layer")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, min_n_ticks=1))


def _legends(found: list[Axes], titles: list[str]) -> None:
    """Draw one legend for panels with the same lines, else one per panel; a long one to the right of a single panel."""
    entries = [ax.get_legend_handles_labels() for ax in found]
    if len(found) > 1 and all(labels == entries[0][1] for _, labels in entries):
        found[0].figure.legend(*entries[0], loc="outside upper center", ncols=min(len(entries[0][1]), 5))
        for ax, title in zip(found, titles, strict=True):
            ax.set_title(title)
        return
    if len(found) == 1 and len(entries[0][1]) > MAX_LEGEND_BELOW:
        found[0].set_title(titles[0])
        found[0].figure.legend(*entries[0], loc="outside right center")
        return
    for ax, title in zip(found, titles, strict=True):
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=title, title_fontsize=8.5)


Window = tuple[float, float]
"""Limits of the y axis."""


def _window(tracks: list[Track], spec: Curves | Layers, unit: str) -> Window:
    """Return the limits of a panel: shares go from 0 to 1; curves with a steep start show their last part, where
    the lines differ."""
    values = [m for track in tracks for m in track.mean]
    if isinstance(spec, Layers) and max(values) <= 1 + 1e-6:
        return 0.0, 1.06
    bands = [m + side * h for t in tracks for m, h in zip(t.mean, t.half_width, strict=True) for side in (-1, 1)]
    low, high = style.clip_to_percent(min(bands), max(bands), unit, values)
    late = [m for track in tracks for m in track.mean[len(track.mean) // 3 :]]
    room = max(late) - min(late)
    if isinstance(spec, Curves) and room and max(values) - min(values) > 6 * room:
        return min(late) - 1.0 * room, max(late) + 0.25 * room
    return low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0)


def _union(windows: list[Window]) -> Window:
    return min(low for low, _ in windows), max(high for _, high in windows)


def _can_share_axis(windows: list[Window]) -> bool:
    """Return whether the panels can share a y axis: each must fill at least half of it."""
    low, high = _union(windows)
    return all(top - bottom >= (high - low) / 2 for bottom, top in windows)


def _ylabel(spec: Curves | Layers, names: Names, tracks: list[Track]) -> str:
    quantity = names.metric(spec.metric)
    unit = quantity.unit
    if isinstance(spec, Layers) and not unit:
        unit = "share" if max(m for track in tracks for m in track.mean) <= 1.0 + 1e-6 else "count"
    return plain(with_unit(quantity.label, unit))


def _words(spec: Curves | Layers, names: Names, panels: list[tuple[Panel, list[Track]]]) -> str:
    along = "epoch by epoch" if isinstance(spec, Curves) else "layer by layer"
    entries = []
    for panel, tracks in panels:
        ends = join_and([f"{t.label} ends at {t.mean[-1]:.2f}" for t in tracks])
        title = plain(_title(panel, spec, names))
        entries.append(f"{title}: {ends}" if title else ends)
    return f"Lines of {names.metric(spec.metric).label}, {along}. {'; '.join(entries)}."
