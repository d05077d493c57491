"""A metric along an axis: mean over seeds with error bars, one line per level of a second axis."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.core.statistics import Summary, summarize
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm, Frame
from paper_tables.figures import style
from paper_tables.schema.figures import Line
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import crossed_arms, levels


def draw(spec: Line, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no point can be drawn."""
    frame = names.frame
    free = [spec.x] + ([spec.color] if spec.color not in (None, "part") else [])
    arms = [arm for arm in crossed_arms(frame, spec.filter, free) if frame.values(arm, spec.y)]
    along = levels(frame, arms, spec.x, spec.filter)
    if not along:
        raise NoData(f"no finished trial with {spec.y} along {spec.x}")
    factor, unit = names.scaled(spec.y, [v for arm in arms for v in frame.values(arm, spec.y).values()])
    points = {id(arm): summarize([factor * v for v in frame.values(arm, spec.y).values()]) for arm in arms}
    at = positions(along)
    figure, (ax,) = style.subplots(spec.width, spec.height or 2.5)
    words: list[str] = []
    order: list[str] = []
    lines = groups(frame, arms, spec.color)
    for i, (level, group) in enumerate(lines.items()):
        label = _label(names, spec.color, level)
        inert = [arm for arm in group if spec.x not in arm.coords]
        on = sorted((arm for arm in group if spec.x in arm.coords), key=lambda arm: along.index(arm.coords[spec.x]))
        if on:
            shift = 0.0 if len(lines) == 1 else (i - (len(lines) - 1) / 2) * 0.012 * (max(at) - min(at) or 1)
            where = [at[along.index(arm.coords[spec.x])] + shift for arm in on]
            _line(ax, where, [points[id(arm)] for arm in on], spec.error, label, i)
            order.append(label)
            words.append(_describe(names, spec, label, [(arm.coords[spec.x], points[id(arm)]) for arm in on]))
        for arm in inert:
            note = f"{label}: {names.axis(spec.x)} inert" if label else names.arm(arm)
            _flat(ax, points[id(arm)], spec.error, plain(note), i)
            order.append(plain(note))
            words.append(f"{plain(note)}: {points[id(arm)].mean:.2f}")
    _finish(ax, spec, names, along, at, unit, order)
    return (
        figure,
        f"Line chart of {names.metric(spec.y).label} against {plain(names.axis(spec.x))}. {'; '.join(words)}.",
    )


def positions(along: list[str]) -> list[float]:
    """Return the labels as numbers if all are numbers, else 0, 1, 2, ..."""
    try:
        return [float(level) for level in along]
    except ValueError:
        return [float(i) for i in range(len(along))]


def groups(frame: Frame, arms: list[Arm], color: str | None) -> dict[str, list[Arm]]:
    """Return the arms of each line: parts or levels in the study's order; key "" for arms with inert axis."""
    if color is None:
        return {"": arms}
    if color == "part":
        return {part: [a for a in arms if a.part == part] for part in dict.fromkeys(a.part for a in arms)}
    found = {level: [a for a in arms if a.coords.get(color) == level] for level in levels(frame, arms, color, {})}
    inert = [a for a in arms if color not in a.coords]
    return {**found, "": inert} if inert else found


def spread(point: Summary, error: str) -> float:
    return float({"t95": point.half_width, "sd": point.sd, "none": None}[error] or 0.0)


def _label(names: Names, color: str | None, level: str) -> str:
    if color is None or not level:
        return ""
    return plain(names.part(level) if color == "part" else names.setting(color, level))


def _line(ax: Axes, where: list[float], points: list[Summary], error: str, label: str, i: int) -> None:
    means, spreads = [p.mean for p in points], [spread(p, error) for p in points]
    look: dict[str, Any] = style.series_style(i)
    ax.errorbar(where, means, yerr=spreads, capsize=2.2, elinewidth=0.8, capthick=0.8, label=label or None, **look)


def _flat(ax: Axes, point: Summary, error: str, label: str, i: int) -> None:
    """Draw an arm in which the axis is inert as a horizontal line with its interval as a band."""
    look = {k: v for k, v in style.series_style(i).items() if k != "marker"}
    ax.axhline(point.mean, label=label, linewidth=1.1, **look)
    half_width = spread(point, error)
    if half_width:
        ax.axhspan(point.mean - half_width, point.mean + half_width, color=look["color"], alpha=0.10, linewidth=0)


def _describe(names: Names, spec: Line, label: str, points: list[tuple[str, Summary]]) -> str:
    values = ", ".join(f"{plain(names.level(spec.x, level))}: {point.mean:.2f}" for level, point in points)
    return f"{label}: {values}" if label else values


def _finish(ax: Axes, spec: Line, names: Names, along: list[str], at: list[float], unit: str, order: list[str]) -> None:
    ax.set_xticks(at, [plain(names.level(spec.x, level)) for level in along])
    ax.grid(axis="x", visible=False)
    room = 0.08 * (max(at) - min(at) or 1)
    ax.set_xlim(min(at) - room, max(at) + room)
    name = plain(names.axis(spec.x))
    ax.set_xlabel(name[:1].upper() + name[1:])
    ax.set_ylabel(plain(with_unit(names.metric(spec.y).label, unit)))
    handles, _ = ax.get_legend_handles_labels()
    if handles:
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.02 * (high - low))
        ax.figure.legend(
            loc="outside upper center", ncols=min(len(handles), 2 if spec.width == "one" else 4), columnspacing=1.2
        )
