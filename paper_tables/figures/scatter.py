"""Accuracy against cost: one point per arm, the Pareto front numbered and named below."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from paper_tables.core.statistics import Summary, summarize
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm
from paper_tables.figures import style
from paper_tables.figures.series import axis_label, ends, group_label, groups, scaled_values
from paper_tables.schema.figures import Scatter
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import filter_arms

LEAST_POINTS = 0.8
"""Share of the points that are never left out of the axis."""
BESIDE = (
    (0, 10), (0, -10), (-10, 0), (10, 0), (-9, 9), (9, 9), (-9, -9), (9, -9), (0, 21), (0, -21), (-21, 0), (21, 0),
)  # fmt: skip
"""In points: where a number may stand to its own point; the first place that is free is taken."""
FROM_MARKS, FROM_NUMBERS = 8, 11
"""In points: how far a number stands from the centers of all marks, and of other numbers."""


@dataclass(frozen=True)
class Point:
    """An arm's means in both metrics."""

    arm: Arm
    x: Summary
    y: Summary
    ends: tuple[float, float]
    """Of the error bar in y."""


def draw(spec: Scatter, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no arm has both metrics."""
    frame = names.frame
    arms = [a for a in filter_arms(frame, spec.filter) if frame.values(a, spec.x) and frame.values(a, spec.y)]
    if not arms:
        raise NoData(f"no finished trial with both {spec.x} and {spec.y}")
    (xs, ux), (ys, uy) = (scaled_values(names, arms, metric) for metric in (spec.x, spec.y))
    error = "t95" if spec.frontier and spec.error == "none" else spec.error
    points = [
        Point(arm, summarize(x), summarize(y), ends(y, error, uy)) for arm, x, y in zip(arms, xs, ys, strict=True)
    ]
    best: list[Point] = []
    colors: list[str] = []
    figure, (ax,) = style.subplots(spec.width, spec.height or 3.4)
    order = [*groups(frame, filter_arms(frame, spec.filter), spec.color)]  # the same colors in every figure of a study
    for level, group in groups(frame, arms, spec.color).items():
        mine = [point for point in points if point.arm in group]
        label = group_label(names, spec.color, level) or plain(names.part(group[0].part))
        look = style.series_style(order.index(level))
        _series(ax, mine, label, look, spec.join and level != "")
        if spec.frontier:
            one = front(mine, frame.direction(spec.x), frame.direction(spec.y))
            ax.plot([p.x.mean for p in one], [p.y.mean for p in one], color=look["color"], linewidth=0.9, zorder=2)
            best += one
            colors += [look["color"]] * len(one)
    _limits(ax, points, spec, names)
    ax.set_xlabel(axis_label(names, spec.x, ux))
    ax.set_ylabel(axis_label(names, spec.y, uy))
    if spec.names:
        best = sorted(points, key=lambda point: (point.x.mean, point.y.mean))
        colors = [style.GRAY] * len(best)
    named = [_name(point, names) for point in best]
    _legend(
        figure,
        ax,
        named,
        "" if spec.names else "Pareto fronts",
        spec.width,
        any(point.arm.baseline for point in points),
    )
    if best:
        number(ax, points, best, colors)
    words = "; ".join(f"{name} ({p.x.mean:.3g} {ux}, {p.y.mean:.2f} {uy})" for name, p in zip(named, best, strict=True))
    title = f"Scatter of {names.metric(spec.y).label} against {names.metric(spec.x).label}, {len(points)} arms"
    return figure, f"{title}." + (f" Pareto front: {words}." if best else "")


def front(points: list[Point], x: str, y: str) -> list[Point]:
    """Return the Pareto front; smaller is better in x and larger in y unless the study says otherwise."""
    sx, sy = (-1 if x == "max" else 1), (-1 if y == "min" else 1)
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (sx * p.x.mean, -sy * p.y.mean)):
        if not best or sy * point.y.mean > sy * best[-1].y.mean:
            best.append(point)
    return best


def _series(ax: Axes, points: list[Point], label: str, look: style.Look, join: bool) -> None:
    """Draw the points of a part or level, baselines filled and larger."""
    color = look["color"]
    if join:
        line = sorted((p.x.mean, p.y.mean) for p in points)
        ax.plot(*zip(*line, strict=True), color=color, linestyle=look["linestyle"], linewidth=0.9, zorder=2)
    for filled in (False, True):
        mine = [p for p in points if p.arm.baseline == filled]
        ax.scatter(
            [p.x.mean for p in mine], [p.y.mean for p in mine], s=52 if filled else 24, marker=look["marker"],
            facecolor=color if filled else "white", edgecolor=color, linewidth=1.2, zorder=4 if filled else 3,
            label=None if filled else label,
        )  # fmt: skip
        for p in mine:
            ax.vlines(p.x.mean, *p.ends, color=color, linewidth=0.6, alpha=0.6, zorder=2)


def number(ax: Axes, points: list[Point], named: list[Point], colors: list[str]) -> None:
    """Write the numbers of the named points beside them, off the marks and off each other where there is room."""
    ax.figure.draw_without_rendering()  # type: ignore[union-attr] # the layout decides what is near
    dots = ax.figure.dpi / 72

    def place(point: Point) -> np.ndarray:
        return np.asarray(ax.transData.transform((point.x.mean, point.y.mean))) / dots

    inside = ax.bbox.padded(-6 * dots)
    marks, written = [place(point) for point in points], list[np.ndarray]()
    for count, (point, color) in enumerate(zip(named, colors, strict=True), 1):
        here = place(point)

        def room(offset: tuple[int, int], here: np.ndarray = here) -> float:
            there = here + offset
            others = [np.hypot(*(there - mark)) - FROM_MARKS for mark in marks]
            others += [np.hypot(*(there - other)) - FROM_NUMBERS for other in written]
            return float(min(others)) if inside.contains(*(there * dots)) else -np.inf

        offset = next((o for o in BESIDE if room(o) >= 0), None) or max(BESIDE, key=room)
        written.append(here + offset)
        ax.annotate(
            str(count), (point.x.mean, point.y.mean), offset, textcoords="offset points", ha="center", va="center",
            fontsize=7.5, fontweight="bold", zorder=6,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": color, "linewidth": 0.6},
        )  # fmt: skip


def _name(point: Point, names: Names) -> str:
    bare = all(names.bare(axis) for axis in point.arm.coords)
    part = f"{names.part(point.arm.part)}, " if len(names.frame.parts) > 1 and not bare else ""
    return plain(part + names.arm(point.arm))


def _limits(ax: Axes, points: list[Point], spec: Scatter, names: Names) -> None:
    """Choose the axes; points far below all others stand as arrows with their value at the lower edge."""
    xs, ys = [p.x.mean for p in points], [p.y.mean for p in points]
    if spec.diagonal:
        _equal_logarithmic(ax, [value for value in (*xs, *ys) if value > 0])
        return
    if min(xs) > 0 and max(xs) > 8 * min(xs):
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    floor = far_below(ys)
    shown = [edge for p in points if p.y.mean >= floor for edge in p.ends]
    room = max(shown) - min(shown) or 1.0
    low = min(shown) - 0.08 * room
    ax.set_ylim(low, max(shown) + 0.2 * room)
    if names.metric(spec.y).unit == "%" and max(shown) <= 100:
        ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= 100])
        ax.set_ylim(low, max(shown) + 0.2 * room)  # ticks must not widen it
    for p in (p for p in points if p.y.mean < low):
        ax.plot(p.x.mean, low, marker="v", color=style.GRAY, clip_on=False, zorder=5)
        text = f"{_name(p, names)}: {p.y.mean:.1f}"
        note = ax.annotate(text, (p.x.mean, low), (5, 3), textcoords="offset points", fontsize=6.5)
        note.set_in_layout(False)


def far_below(values: list[float]) -> float:
    """Return the bound below which values lie so low that the others could not be told apart."""
    left = sorted(values)
    while len(left) - 1 >= LEAST_POINTS * len(values) and left[1] - left[0] > (left[-1] - left[1]) / 2:
        del left[0]
    return left[0]


def _equal_logarithmic(ax: Axes, values: list[float]) -> None:
    low, high = min(values) / 1.08, max(values) * 1.25
    for axis, scale, limits in ((ax.xaxis, ax.set_xscale, ax.set_xlim), (ax.yaxis, ax.set_yscale, ax.set_ylim)):
        scale("log")
        limits(low, high)
        axis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.plot([low, high], [low, high], color=style.GRAY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)


def _legend(figure: Figure, ax: Axes, named: list[str], title: str, width: str, filled: bool) -> None:
    """Draw the parts above, and the names of the numbered points to the right or below, not on the points."""
    one = width == "one"
    full = Line2D([], [], marker="o", color=style.GRAY, linestyle="none", markersize=6.5, label="filled: baseline")
    series = ax.get_legend_handles_labels()[0]
    handles = [*(series if len(series) > 1 else []), *([full] if filled else [])]
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=2 if one else 4, columnspacing=1.5)
    if named:
        figure.legend(
            handles=[Line2D([], [], linestyle="none", label=f"{i}  {name}") for i, name in enumerate(named, 1)],
            loc="outside lower left" if one else "outside right center", title=title, alignment="left",
            handlelength=0, handletextpad=0, title_fontsize=7.5, labelspacing=0.35,
        )  # fmt: skip
