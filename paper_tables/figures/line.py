"""A metric along an axis: mean over seeds with error bars, one line per level of a second axis."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.core.statistics import summarize
from paper_tables.core.text import plain
from paper_tables.figures import style
from paper_tables.figures.series import axis_label, ends, group_label, groups, scaled_values
from paper_tables.schema.figures import Line
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import crossed_arms, levels


def draw(spec: Line, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData for fewer than two arms: a point is no line."""
    frame = names.frame
    crossed = crossed_arms(frame, spec.filter, [spec.x, spec.color or ""])
    arms = [arm for arm in crossed if frame.values(arm, spec.y)]
    along = levels(frame, arms, spec.x, spec.filter)
    if not along:
        raise NoData(f"no finished trial with {spec.y} along {spec.x}")
    if len(arms) == 1:
        raise NoData(f"one level of {spec.x} alone was run, {along[0]}")
    values, unit = scaled_values(names, arms, spec.y)
    points = {id(arm): found for arm, found in zip(arms, values, strict=True)}
    means = {id(arm): summarize(found).mean for arm, found in zip(arms, values, strict=True)}
    at = dict(zip(along, positions(along), strict=True))
    reach = max(at.values()) - min(at.values()) or 1
    figure, (ax,) = style.subplots(spec.width, spec.height or 2.5)
    words: list[str] = []
    color = spec.color or ("part" if len({arm.part for arm in arms}) > 1 else None)  # a line is of one part
    lines = groups(frame, arms, color)
    for i, (level, group) in enumerate(lines.items()):
        label = group_label(names, color, level)
        on = sorted((arm for arm in group if spec.x in arm.coords), key=lambda arm: along.index(arm.coords[spec.x]))
        if on:
            shift = 0.0 if len(lines) == 1 else (i - (len(lines) - 1) / 2) * 0.012 * reach
            _line(
                ax,
                [at[arm.coords[spec.x]] + shift for arm in on],
                [points[id(arm)] for arm in on],
                spec,
                label,
                i,
                unit,
            )
            texts = [f"{plain(names.level(spec.x, a.coords[spec.x]))}: {means[id(a)]:.2f}" for a in on]
            words.append((f"{label}: " if label else "") + ", ".join(texts))
        for arm in (arm for arm in group if spec.x not in arm.coords):
            note = plain(f"{label}: {names.axis(spec.x)} inert" if label else names.arm(arm))
            _flat(ax, points[id(arm)], spec, note, i, unit)
            words.append(f"{note}: {means[id(arm)]:.2f}")
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


def _line(ax: Axes, where: list[float], points: list[list[float]], spec: Line, label: str, i: int, unit: str) -> None:
    """Draw the means with their error bars, and every seed as a thin mark."""
    means, look = [summarize(seeds).mean for seeds in points], style.series_style(i)
    low, high = zip(*(ends(seeds, spec.error, unit) for seeds in points), strict=True)
    bars = [[m - e for m, e in zip(means, low, strict=True)], [e - m for m, e in zip(means, high, strict=True)]]
    ax.errorbar(where, means, yerr=bars, capsize=2.2, elinewidth=0.8, capthick=0.8, label=label or None, **look)
    for x, seeds in zip(where, points, strict=True):
        ax.plot([x] * len(seeds), seeds, marker="_", color=look["color"], linestyle="none", alpha=0.55)


def _flat(ax: Axes, seeds: list[float], spec: Line, label: str, i: int, unit: str) -> None:
    """Draw an arm in which the axis is inert as a horizontal line with its interval as a band."""
    look = {k: v for k, v in style.series_style(i).items() if k != "marker"}
    ax.axhline(summarize(seeds).mean, label=label, linewidth=1.1, **look)
    low, high = ends(seeds, spec.error, unit)
    if high > low:
        ax.axhspan(low, high, color=look["color"], alpha=0.10, linewidth=0)


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
