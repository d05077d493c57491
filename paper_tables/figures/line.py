"""A metric along an axis: mean over seeds with error bars, one line per level of a second axis."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.core.statistics import Summary, summarize
from paper_tables.core.text import plain
from paper_tables.figures import style
from paper_tables.figures.series import axis_label, group_label, groups, half_width, scaled_values
from paper_tables.schema.figures import Line
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import crossed_arms, levels


def draw(spec: Line, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no point can be drawn."""
    frame = names.frame
    crossed = crossed_arms(frame, spec.filter, [spec.x, spec.color or ""])
    arms = [arm for arm in crossed if frame.values(arm, spec.y)]
    along = levels(frame, arms, spec.x, spec.filter)
    if not along:
        raise NoData(f"no finished trial with {spec.y} along {spec.x}")
    values, unit = scaled_values(names, arms, spec.y)
    points = {id(arm): summarize(found) for arm, found in zip(arms, values, strict=True)}
    at = dict(zip(along, positions(along), strict=True))
    reach = max(at.values()) - min(at.values()) or 1
    figure, (ax,) = style.subplots(spec.width, spec.height or 2.5)
    words: list[str] = []
    lines = groups(frame, arms, spec.color)
    for i, (level, group) in enumerate(lines.items()):
        label = group_label(names, spec.color, level)
        on = sorted((arm for arm in group if spec.x in arm.coords), key=lambda arm: along.index(arm.coords[spec.x]))
        if on:
            shift = 0.0 if len(lines) == 1 else (i - (len(lines) - 1) / 2) * 0.012 * reach
            _line(ax, [at[arm.coords[spec.x]] + shift for arm in on], [points[id(arm)] for arm in on], spec, label, i)
            texts = [f"{plain(names.level(spec.x, a.coords[spec.x]))}: {points[id(a)].mean:.2f}" for a in on]
            words.append((f"{label}: " if label else "") + ", ".join(texts))
        for arm in (arm for arm in group if spec.x not in arm.coords):
            note = plain(f"{label}: {names.axis(spec.x)} inert" if label else names.arm(arm))
            _flat(ax, points[id(arm)], spec, note, i)
            words.append(f"{note}: {points[id(arm)].mean:.2f}")
    _finish(ax, spec, names, at, unit)
    text = f"Line chart of {names.metric(spec.y).label} against {plain(names.axis(spec.x))}. {'; '.join(words)}."
    return figure, text


def positions(along: list[str]) -> list[float]:
    """Return the labels as numbers if all are finite numbers, else 0, 1, 2, ..."""
    try:
        found = [float(level) for level in along]
    except ValueError:
        found = [math.inf]
    return found if all(map(math.isfinite, found)) else [float(i) for i in range(len(along))]


def _line(ax: Axes, where: list[float], points: list[Summary], spec: Line, label: str, i: int) -> None:
    means, widths = [p.mean for p in points], [half_width(p, spec.error) for p in points]
    look = style.series_style(i)
    ax.errorbar(where, means, yerr=widths, capsize=2.2, elinewidth=0.8, capthick=0.8, label=label or None, **look)


def _flat(ax: Axes, point: Summary, spec: Line, label: str, i: int) -> None:
    """Draw an arm in which the axis is inert as a horizontal line with its interval as a band."""
    look = {k: v for k, v in style.series_style(i).items() if k != "marker"}
    ax.axhline(point.mean, label=label, linewidth=1.1, **look)
    half = half_width(point, spec.error)
    if half:
        ax.axhspan(point.mean - half, point.mean + half, color=look["color"], alpha=0.10, linewidth=0)


def _finish(ax: Axes, spec: Line, names: Names, at: dict[str, float], unit: str) -> None:
    ax.set_xticks(list(at.values()), [plain(names.level(spec.x, level)) for level in at])
    ax.grid(axis="x", visible=False)
    low, high = min(at.values()), max(at.values())
    room = 0.08 * (high - low or 1)
    ax.set_xlim(low - room, high + room)
    name = plain(names.axis(spec.x))
    ax.set_xlabel(name[:1].upper() + name[1:])
    ax.set_ylabel(axis_label(names, spec.y, unit))
    count = len(ax.get_legend_handles_labels()[0])
    if count:
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.02 * (high - low))
        columns = min(count, 2 if spec.width == "one" else 4)
        ax.figure.legend(loc="outside upper center", ncols=columns, columnspacing=1.2)
