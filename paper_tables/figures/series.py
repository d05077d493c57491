"""What several figures share: values over seeds, lines of arms with their bands, panels, labels of axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from paper_tables.core.statistics import MIN_SEEDS, Summary, t_quantile
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm, Frame
from paper_tables.figures import style
from paper_tables.schema.figures import Panel
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import levels

Made = TypeVar("Made")


@dataclass(frozen=True)
class Track:
    """One line: x, mean and half width of the band (0 below three seeds)."""

    label: str
    x: list[float]
    mean: list[float]
    half_width: list[float]

    @property
    def edges(self) -> tuple[list[float], list[float]]:
        """The lower and the upper edge of the band."""
        pairs = list(zip(self.mean, self.half_width, strict=True))
        return [m - h for m, h in pairs], [m + h for m, h in pairs]


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
    quantity = names.metric(metric)
    return plain(with_unit(quantity.label, quantity.unit if unit is None else unit))


def half_width(point: Summary, error: str) -> float:
    return float({"t95": point.half_width, "sd": point.sd}.get(error) or 0.0)


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
    names: Names, arms: list[Arm], color: str | None, points: Callable[[list[Arm]], pd.DataFrame], error: str
) -> list[Track] | None:
    """Return a line per level of `color` from points (columns x, trial, value) of its arms; None without any."""
    found = []
    for level, group in groups(names.frame, arms, color).items():
        table = points(group)
        table = table.loc[np.isfinite(table["value"].astype(float))]  # diverged trials
        if not table.empty:
            found.append(track(group_label(names, color, level) or plain(names.arm(group[0])), table, error))
    return found or None


def track(label: str, points: pd.DataFrame, error: str) -> Track:
    """Return the mean line of points (columns x, trial, value; at least one, all finite)."""
    table = points.groupby("x")["value"].agg(["mean", "std", "count"]).sort_index()
    half_widths = []
    for sd, n in zip(table["std"], table["count"], strict=True):
        factor = {"t95": t_quantile(int(n), 0.95) / n**0.5 if n >= MIN_SEEDS else 0.0, "sd": 1.0, "none": 0.0}[error]
        half_widths.append(float(factor * sd) if n >= MIN_SEEDS else 0.0)
    return Track(label, [float(x) for x in table.index], [float(m) for m in table["mean"]], half_widths)


def plot_tracks(ax: Axes, found: list[Track], xlabel: str, ticks: int, markers: int | None = None) -> None:
    """Draw the lines, each with its band and about `markers` markers (None: one at each point), over whole numbers."""
    for i, one in enumerate(found):
        look = style.series_style(i)
        every = max(1, len(one.x) // markers) if markers else 1
        ax.plot(one.x, one.mean, label=one.label, markevery=every, **look)
        ax.fill_between(one.x, *one.edges, color=look["color"], alpha=0.15, linewidth=0)
    ax.set_xlabel(xlabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=ticks, min_n_ticks=1))


def legend_above(ax: Axes, title: str) -> None:
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=title, title_fontsize=8.5)
