"""Every arm with its seeds, mean and interval."""

from __future__ import annotations

from matplotlib.figure import Figure

from paper_tables.core.statistics import summarize
from paper_tables.core.text import plain
from paper_tables.figures import style
from paper_tables.figures.series import axis_label, ends, scaled_values
from paper_tables.schema.figures import Dots
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import filter_arms

MAX_ARMS = 40
"""Most arms in one figure: of more, the best are shown."""


def draw(spec: Dots, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no arm has the metric."""
    frame = names.frame
    every = [arm for arm in filter_arms(frame, spec.filter) if frame.values(arm, spec.x)]
    if not every:
        raise NoData(f"no finished trial with {spec.x}")
    sign = 1 if frame.direction(spec.x) == "min" else -1
    means = [sign * summarize(list(frame.values(arm, spec.x).values())).mean for arm in every]
    best = sorted(range(len(every)), key=means.__getitem__)[:MAX_ARMS]
    arms = [every[i] for i in sorted(best)]
    values, unit = scaled_values(names, arms, spec.x)
    parts = list(dict.fromkeys(arm.part for arm in arms))
    figure, (ax,) = style.subplots(spec.width, spec.height or min(0.7 + 0.18 * len(arms), 11.5))
    labels, means_text = [], []
    for y, (arm, seeds) in enumerate(zip(arms, values, strict=True)):
        summary, look = summarize(seeds), style.series_style(parts.index(arm.part))
        low, high = ends(seeds, "t95", unit)
        ax.plot(seeds, [y] * len(seeds), marker="|", color=look["color"], linestyle="none", alpha=0.55)
        ax.errorbar(
            summary.mean, y, xerr=[[summary.mean - low], [high - summary.mean]], color=look["color"],
            marker=look["marker"], capsize=2, elinewidth=1.0,
            markerfacecolor=look["color"] if arm.baseline else "white",
        )  # fmt: skip
        labels.append(plain((f"{names.part(arm.part)}: " if len(parts) > 1 else "") + names.arm(arm)))
        means_text.append(f"{labels[-1]}: {summary.mean:.3g}")
    left, right = style.clip_to_percent(*ax.get_xlim(), unit, [v for seeds in values for v in seeds])
    ax.set_xlim(left - 0.02 * (right - left), right + 0.02 * (right - left))
    ax.set_yticks(range(len(arms)), [label if len(label) < 60 else label[:57] + "…" for label in labels])
    ax.set_ylim(len(arms) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    few = f"; {len(arms)} of {len(every)} arms, the best" if len(arms) < len(every) else ""
    ax.set_xlabel(axis_label(names, spec.x, unit) + few)
    return figure, f"Every arm's mean {names.metric(spec.x).label} with its seeds. {'; '.join(means_text)}."
