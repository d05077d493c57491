"""What several figures share: values over seeds, lines of arms with their bands, panels, labels of axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from paper_tables.core.statistics import Summary, summarize
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm, Frame
from paper_tables.figures import style
from paper_tables.schema.figures import Panel
from paper_tables.tables.grid import ARROWS, NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import levels

Made = TypeVar("Made")
FEW_SEEDS = 5
"""Most seeds that are drawn one by one instead of as a band."""
NEAREST = 5e-4
"""Nearest share to 0 and 1: a logit of these is infinite."""


@dataclass(frozen=True)
class Track:
    """One line: x, mean, edges of the band (the mean below three seeds), and the line of each seed."""

    label: str
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]
    seeds: list[tuple[list[float], list[float]]]


def panels_with_data(
    panels: Iterable[Panel], make: Callable[[Panel], Made | None], missing: str
) -> list[tuple[Panel, Made]]:
    """Return the panels for which `make` returns something. Raises NoData with the text `missing` if there are none."""
    made = [(panel, found) for panel in panels if (found := make(panel)) is not None]
    if not made:
        raise NoData(missing)
    return made


def scaled_values(names: Names, arms: Iterable[Arm], metric: str) -> tuple[list[list[float]], str]:
    """Return each arm's values over seeds in the unit in which they are printed, and that unit."""
    found = [list(names.frame.values(arm, metric).values()) for arm in arms]
    factor, unit = names.scaled(metric, [value for values in found for value in values])
    return [[factor * value for value in values] for values in found], unit


def axis_label(names: Names, metric: str, unit: str | None = None) -> str:
    """Return the metric's name with its unit and an arrow to its better end."""
    quantity = names.metric(metric)
    text = plain(with_unit(quantity.label, quantity.unit if unit is None else unit))
    return text + ARROWS[names.frame.direction(metric)]


def half_width(point: Summary, error: str) -> float:
    return float({"t95": point.half_width, "sd": point.sd}.get(error) or 0.0)


def ends(values: Iterable[float], error: str, unit: str) -> tuple[float, float]:
    """Return the ends of the mean's error bar; both the mean where there is none.

    Intervals of percentages are taken on the logit scale, so that none reaches beyond 0 or 100.
    """
    seen = list(values)
    point = summarize(seen)
    if error != "t95" or unit != "%" or not all(0 <= value <= 100 for value in seen):
        half = half_width(point, error)
        return point.mean - half, point.mean + half
    share = np.clip(np.array(seen) / 100, NEAREST, 1 - NEAREST)
    logits = summarize(list(np.log(share / (1 - share))))
    half = logits.half_width or 0.0
    low, high = (100 / (1 + math.exp(-(logits.mean + side))) for side in (-half, half))
    return (min(low, point.mean), max(high, point.mean)) if half else (point.mean, point.mean)


def groups(frame: Frame, arms: list[Arm], color: str | None) -> dict[str, list[Arm]]:
    """Return the arms of each line: parts or levels in the study's order; key "" for arms with inert axis."""
    if color is None:
        return {"": arms}
    if color == "part":
        return {part: [a for a in arms if a.part == part] for part in dict.fromkeys(a.part for a in arms)}
    found = {level: [a for a in arms if a.coords.get(color) == level] for level in levels(frame, arms, color, {})}
    inert = [a for a in arms if color not in a.coords]
    return {**found, "": inert} if inert else found


def group_label(names: Names, color: str | None, level: str) -> str:
    if color is None or not level:
        return ""
    return plain(names.part(level) if color == "part" else names.setting(color, level))


def tracks(
    names: Names, arms: list[Arm], color: str | None, points: Callable[[list[Arm]], pd.DataFrame], error: str, unit: str
) -> list[Track] | None:
    """Return a line per level of `color`, without it per arm, from points (columns x, trial, value) of its arms; None
    without any."""
    found, several = [], len({arm.part for arm in arms}) > 1
    lines = groups(names.frame, arms, color) if color else {str(i): [arm] for i, arm in enumerate(arms)}
    for level, group in lines.items():
        table = points(group)
        table = table.loc[np.isfinite(table["value"].astype(float))]  # diverged trials
        if not table.empty:
            own = plain(f"{names.part(group[0].part)}: " * several + names.arm(group[0]))
            found.append(track(group_label(names, color, level) or own, table, error, unit))
    return found or None


def track(label: str, points: pd.DataFrame, error: str, unit: str) -> Track:
    """Return the mean line of points (columns x, trial, value; at least one, all finite)."""
    table = points.groupby("x")["value"].agg(list).sort_index()
    low, high = zip(*(ends(values, error, unit) for values in table), strict=True)
    seeds: dict[str, tuple[list[float], list[float]]] = {trial: ([], []) for trial in points["trial"]}
    for trial, x, value in points.sort_values("x", kind="stable")[["trial", "x", "value"]].itertuples(index=False):
        seeds[trial][0].append(float(x))
        seeds[trial][1].append(float(value))
    means = [float(np.mean(values)) for values in table]
    return Track(label, [float(x) for x in table.index], means, list(low), list(high), list(seeds.values()))


def plot_tracks(ax: Axes, found: list[Track], xlabel: str, ticks: int, markers: int | None = None) -> None:
    """Draw the lines, each with about `markers` markers (None: one at each point), over whole numbers.

    Each has thin lines of its seeds if they are few, else its band.
    """
    for i, one in enumerate(found):
        look = style.series_style(i)
        every = max(1, len(one.x) // markers) if markers else 1
        ax.plot(one.x, one.mean, label=one.label, markevery=every, **look)
        if len(one.seeds) > FEW_SEEDS:
            ax.fill_between(one.x, one.low, one.high, color=look["color"], alpha=0.15, linewidth=0)
        for x, y in one.seeds if 1 < len(one.seeds) <= FEW_SEEDS else ():
            ax.plot(x, y, color=look["color"], linewidth=0.5, alpha=0.45, zorder=1)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=1))


def legend_above(ax: Axes, title: str) -> None:
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=title, title_fontsize=8.5)


def draw_chance(ax: Axes, value: float, end: Literal["left", "right"]) -> None:
    """Draw the value that chance alone gives, and name it at the end where the curves are far from it."""
    ax.axhline(value, color=style.GRAY, linewidth=0.8, linestyle=(0, (2, 2)))
    place, offset = (0, (3, -8)) if end == "left" else (1, (-3, 2))
    ax.annotate("by chance", (place, value), xycoords=("axes fraction", "data"), xytext=offset, ha=end,
                textcoords="offset points", fontsize=7, color=style.GRAY)  # fmt: skip
