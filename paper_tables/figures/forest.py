"""Forest plot: paired differences of arms to their part's baseline, with intervals."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables.core.statistics import Difference, holm, paired
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm
from paper_tables.figures import style
from paper_tables.schema.figures import Forest
from paper_tables.schema.tables import ArmRows
from paper_tables.tables.grid import ALPHA, NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import listed_arms, varied_axis

HEADING = {"one": 40, "two": 84}
"""Characters per line of a part's heading, by the figure's width."""
LINE = 0.85
"""Height of each further line of a heading, in rows."""


@dataclass(frozen=True)
class Effect:
    """Paired difference of an arm to its part's baseline."""

    arm: Arm
    axis: str
    result: Difference
    holm: float | None


def draw(spec: Forest, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no arm can be compared."""
    found = effects(spec, names)
    if not found:
        raise NoData(f"no finished pair of an arm and its baseline with {spec.x}")
    headings = _headings(found, names, HEADING.get(spec.width, 84))
    places = _places(found, headings)
    figure, (ax,) = style.subplots(spec.width, spec.height or 0.6 + 0.165 * (max(places.values()) + 2))
    parts = list(dict.fromkeys(e.arm.part for e in found))
    ax.axvline(0, color=style.GRAY, linewidth=0.8, zorder=1)
    for effect in found:
        _effect(ax, effect, places[id(effect)], style.series_style(parts.index(effect.arm.part)))
    _labels(ax, found, places, headings, names)
    _axis(ax, spec, names)
    effects_text = "; ".join(f"{_label(names, e)}: {e.result.mean:+.2f}" for e in found)
    return (
        figure,
        f"Forest plot of paired differences in {names.metric(spec.x).label} to the baselines. {effects_text}.",
    )


def effects(spec: Forest, names: Names) -> list[Effect]:
    """Return the effects, one factor at a time, in the order of the table; p values are Holm-adjusted over all."""
    frame = names.frame
    pairs = []
    for arm in listed_arms(frame, spec.filter, ArmRows(block="one_at_a_time", baseline="none")):
        base = frame.baseline(arm.part)
        result = base and paired(frame.values(arm, spec.x), frame.values(base, spec.x))
        if result:
            pairs.append((arm, varied_axis(frame, arm) or "", result))
    adjusted = holm([result.p for _, _, result in pairs])
    return [Effect(arm, axis, result, p) for (arm, axis, result), p in zip(pairs, adjusted, strict=True)]


def _headings(found: list[Effect], names: Names, width: int) -> dict[str, str]:
    """Part -> its name and baseline, broken into lines."""
    titles = {}
    for part in dict.fromkeys(e.arm.part for e in found):
        base = names.frame.baseline(part)
        title = f"{names.part(part)}; baseline: {names.coords(base)}" if base else names.part(part)
        titles[part] = "\n".join(textwrap.wrap(plain(title), width))
    return titles


def _places(found: list[Effect], headings: dict[str, str]) -> dict[int, float]:
    """Rows from the top; half a row between factors, one and a half or more for the heading of a part."""
    places, at, last = {}, 0.0, None
    for effect in found:
        if last is None or last.arm.part != effect.arm.part:
            at += (1.4 if last is None else 1.8) + LINE * headings[effect.arm.part].count("\n")
        elif last.axis != effect.axis:
            at += 0.4
        places[id(effect)] = at
        at, last = at + 1, effect
    return places


def _effect(ax: Axes, effect: Effect, y: float, look: dict[str, str]) -> None:
    marked = effect.holm is not None and effect.holm < ALPHA
    half_width = effect.result.half_width
    if half_width is not None:
        ax.plot(
            [effect.result.mean - half_width, effect.result.mean + half_width],
            [y, y],
            color=look["color"],
            linewidth=1.2,
        )
    ax.plot(
        effect.result.mean, y, marker=look["marker"], color=look["color"], linestyle="none", markersize=4.8,
        markerfacecolor=look["color"] if marked else "white", markeredgewidth=1.1, zorder=3,
    )  # fmt: skip


def _label(names: Names, effect: Effect) -> str:
    return plain(names.setting(effect.axis, effect.arm.coords.get(effect.axis, "")))


def _labels(ax: Axes, found: list[Effect], places: dict[int, float], headings: dict[str, str], names: Names) -> None:
    ax.set_yticks([places[id(e)] for e in found], [_label(names, e) for e in found])
    ax.set_ylim(max(places.values()) + 0.8, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for part, heading in headings.items():
        first = next(e for e in found if e.arm.part == part)
        middle = places[id(first)] - 1.0 - LINE * heading.count("\n") / 2
        text = ax.text(
            0.0, middle, heading, transform=ax.get_yaxis_transform(), ha="left", va="center",
            fontstyle="italic", fontsize=7.8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
        text.set_in_layout(False)  # otherwise a long heading would shrink the plot


def _axis(ax: Axes, spec: Forest, names: Names) -> None:
    quantity = names.metric(spec.x)
    unit = " (points)" if quantity.unit == "%" else f" ({quantity.unit})" if quantity.unit else ""
    ax.set_xlabel(plain(f"Difference in {quantity.label[:1].lower()}{quantity.label[1:]} to the baseline{unit}"))
    ax.grid(axis="y", visible=False)
    kinds = [
        Line2D([], [], marker="o", color=style.GRAY, linestyle="none", label=f"p < {ALPHA:g} after Holm"),
        Line2D([], [], marker="o", color=style.GRAY, linestyle="none", markerfacecolor="white", label="not marked"),
    ]
    ax.figure.legend(handles=kinds, loc="outside upper right", ncols=2, columnspacing=1.2, handletextpad=0.2)
