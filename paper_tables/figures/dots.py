"""Every arm with its seeds, mean and interval."""

from __future__ import annotations

from matplotlib.figure import Figure

from paper_tables.core.statistics import summarize
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm
from paper_tables.figures import style
from paper_tables.schema.figures import Dots
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import filter_arms

MAX_ARMS = 40
"""Most arms in one figure."""


def draw(spec: Dots, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no arm has the metric."""
    frame = names.frame
    arms = [arm for arm in filter_arms(frame, spec.filter) if frame.values(arm, spec.x)]
    if not arms:
        raise NoData(f"no finished trial with {spec.x}")
    every, arms = len(arms), _best_arms(arms, spec.x, names)
    factor, unit = names.scaled(spec.x, [v for arm in arms for v in frame.values(arm, spec.x).values()])
    parts = list(dict.fromkeys(arm.part for arm in arms))
    figure, (ax,) = style.subplots(spec.width, spec.height or min(0.7 + 0.18 * len(arms), 11.5))
    labels = []
    for y, arm in enumerate(arms):
        values = [factor * v for v in frame.values(arm, spec.x).values()]
        summary, look = summarize(values), style.series_style(parts.index(arm.part))
        ax.plot(values, [y] * len(values), marker="|", color=look["color"], linestyle="none", alpha=0.55)
        ax.errorbar(
            summary.mean, y, xerr=summary.half_width or 0.0, color=look["color"], marker=look["marker"], capsize=2,
            elinewidth=1.0, markerfacecolor=look["color"] if arm.baseline else "white",
        )  # fmt: skip
        label = f"{names.part(arm.part)}: {names.arm(arm)}" if len(parts) > 1 else names.arm(arm)
        labels.append(plain(label))
    shown = [factor * v for arm in arms for v in frame.values(arm, spec.x).values()]
    left, right = style.clip_to_percent(*ax.get_xlim(), unit, shown)
    ax.set_xlim(left - 0.02 * (right - left), right + 0.02 * (right - left))
    ax.set_yticks(range(len(arms)), [label if len(label) < 60 else label[:57] + "…" for label in labels])
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    few = f"; {len(arms)} of {every} arms, the best" if len(arms) < every else ""
    ax.set_xlabel(plain(with_unit(names.metric(spec.x).label, unit)) + few)
    means_text = "; ".join(
        f"{label}: {factor * summarize(list(frame.values(arm, spec.x).values())).mean:.3g}"
        for label, arm in zip(labels, arms, strict=True)
    )
    return figure, f"Every arm's mean {names.metric(spec.x).label} with its seeds. {means_text}."


def _best_arms(arms: list[Arm], metric: str, names: Names) -> list[Arm]:
    """Return all arms, or the best `MAX_ARMS` of them, in the frame's order."""
    if len(arms) <= MAX_ARMS:
        return arms
    sign = 1 if names.frame.direction(metric) == "min" else -1
    ranked = sorted(arms, key=lambda arm: sign * summarize(list(names.frame.values(arm, metric).values())).mean)
    kept = {(arm.part, arm.label) for arm in ranked[:MAX_ARMS]}
    return [arm for arm in arms if (arm.part, arm.label) in kept]
