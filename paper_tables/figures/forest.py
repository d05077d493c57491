"""Forest plot: paired differences of arms to their part's baseline, with intervals."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from paper_tables.core.statistics import Difference, paired
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm
from paper_tables.figures import style
from paper_tables.schema.figures import Forest
from paper_tables.schema.tables import ArmRows
from paper_tables.tables.grid import ALPHA, Cell, NoData
from paper_tables.tables.holm_family import HolmFamily
from paper_tables.tables.labels import Names, with_unit
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
    cell: Cell
    """The same as a cell of a table, for the study's family of tests."""


def draw(spec: Forest, names: Names, family: HolmFamily | None = None) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no arm can be compared.

    family: all tests of the study; without it, those of the figure.
    """
    found = effects(spec, names)
    family = family or HolmFamily(effect.cell for effect in found)
    for effect in found:
        effect.cell.holm = family.adjusted(effect.cell)
    if not found:
        raise NoData(f"no finished pair of an arm and its baseline with {spec.x}")
    headings = _headings(found, names, HEADING[spec.width])
    places = _places(found, headings)
    figure, (ax,) = style.subplots(spec.width, spec.height or 0.6 + 0.165 * (max(places) + 2))
    parts = list(headings)
    ax.axvline(0, color=style.GRAY, linewidth=0.8, zorder=1)
    for effect, y in zip(found, places, strict=True):
        _effect(ax, effect, y, style.series_style(parts.index(effect.arm.part)))
    labels = [plain(names.setting(e.axis, e.arm.coords.get(e.axis, ""))) for e in found]
    ax.set_yticks(places, labels)
    ax.set_ylim(max(places) + 0.8, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for part, heading in headings.items():
        first = next(y for effect, y in zip(found, places, strict=True) if effect.arm.part == part)
        _heading(ax, heading, first)
    quantity = names.metric(spec.x)
    metric = f"{quantity.label[:1].lower()}{quantity.label[1:]}"
    unit = "points" if quantity.unit == "%" else quantity.unit
    ax.set_xlabel(plain(with_unit(f"Difference in {metric} to the baseline", unit)))
    ax.grid(axis="y", visible=False)
    _legend(figure)
    text = "; ".join(f"{label}: {e.result.mean:+.2f}" for label, e in zip(labels, found, strict=True))
    return figure, f"Forest plot of paired differences in {quantity.label} to the baselines. {text}."


def effects(spec: Forest, names: Names) -> list[Effect]:
    """Return the effects, one factor at a time, in the order of the table."""
    frame = names.frame
    found = []
    for arm in listed_arms(frame, spec.filter, ArmRows(block="one_at_a_time", baseline="none")):
        base = frame.baseline(arm.part)
        result = base and paired(frame.values(arm, spec.x), frame.values(base, spec.x))
        if base and result:
            tested = spec.x, frozenset({(arm.part, arm.label), (base.part, base.label)})
            cell = Cell(result.mean, result.half_width, p=result.p, tested=tested)
            found.append(Effect(arm, varied_axis(frame, arm) or "", result, cell))
    return found


def _headings(found: list[Effect], names: Names, width: int) -> dict[str, str]:
    """Part -> its name and baseline, broken into lines."""
    titles = {}
    for part in dict.fromkeys(e.arm.part for e in found):
        base = names.frame.baseline(part)
        title = f"{names.part(part)}; baseline: {names.coords(base)}" if base else names.part(part)
        titles[part] = "\n".join(textwrap.wrap(plain(title), width))
    return titles


def _places(found: list[Effect], headings: dict[str, str]) -> list[float]:
    """Rows from the top; half a row between factors, one and a half or more for the heading of a part."""
    places: list[float] = []
    at, last = 0.0, None
    for effect in found:
        if last is None or last.arm.part != effect.arm.part:
            at += (1.4 if last is None else 1.8) + LINE * headings[effect.arm.part].count("\n")
        elif last.axis != effect.axis:
            at += 0.4
        places.append(at)
        at, last = at + 1, effect
    return places


def _effect(ax: Axes, effect: Effect, y: float, look: style.Look) -> None:
    color, mean, half_width = look["color"], effect.result.mean, effect.result.half_width
    marked = effect.cell.star
    if half_width is not None:
        ax.plot([mean - half_width, mean + half_width], [y, y], color=color, linewidth=1.2)
    ax.plot(
        mean, y, marker=look["marker"], color=color, linestyle="none", markersize=4.8,
        markerfacecolor=color if marked else "white", markeredgewidth=1.1, zorder=3,
    )  # fmt: skip


def _heading(ax: Axes, heading: str, first: float) -> None:
    """Write the heading of a part above its `first` row."""
    middle = first - 1.0 - LINE * heading.count("\n") / 2
    text = ax.text(
        0.0, middle, heading, transform=ax.get_yaxis_transform(), ha="left", va="center",
        fontstyle="italic", fontsize=7.8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip
    text.set_in_layout(False)  # otherwise a long heading would shrink the plot


def _legend(figure: Figure) -> None:
    looks = ((style.GRAY, f"p < {ALPHA:g} after Holm"), ("white", "not marked"))
    kinds = [
        Line2D([], [], marker="o", color=style.GRAY, linestyle="none", markerfacecolor=face, label=label)
        for face, label in looks
    ]
    figure.legend(handles=kinds, loc="outside upper right", ncols=2, columnspacing=1.2, handletextpad=0.2)
