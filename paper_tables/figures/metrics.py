"""Several metrics of the same unit: one row per arm, one mark per metric."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_tables.core.statistics import summarize
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm
from paper_tables.figures import style
from paper_tables.figures.series import ends
from paper_tables.schema.figures import Metrics, MetricsPanel
from paper_tables.tables.grid import ARROWS, NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import filter_arms

SPREAD = 0.5
"""Share of a row's height over which its marks lie, one above the other."""


def draw(spec: Metrics, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData if no arm has any of the metrics."""
    frame = names.frame
    chosen = filter_arms(frame, spec.filter)
    panels = [p for p in spec.panels if any(frame.values(arm, metric) for arm in chosen for metric in p.metrics)]
    if not panels:
        raise NoData(f"no finished trial with {', '.join(m for panel in spec.panels for m in panel.metrics)}")
    arms = [arm for arm in chosen if any(frame.values(arm, metric) for p in panels for metric in p.metrics)]
    series = list(dict.fromkeys(plain(label) for panel in panels for label in panel.metrics.values()))
    figure, axes = style.subplots(spec.width, spec.height or 1.0 + 0.32 * len(arms), len(panels))
    said = [text for ax, panel in zip(axes, panels, strict=True) for text in _panel(ax, panel, arms, series, names)]
    for ax in axes:
        if spec.line is not None:
            ax.axvline(spec.line, color=style.GRAY, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    axes[0].set_yticks(range(len(arms)), [plain(names.arm(arm)) for arm in arms])
    axes[0].set_ylim(len(arms) - 0.5, -0.5)
    direction = frame.direction(next(iter(panels[0].metrics)))
    figure.supxlabel(plain(spec.label) + ARROWS[direction], fontsize=8.5)
    # a panel may lack a series, and all of them may: the legend is made from what was drawn
    drawn = {line.get_label(): line for ax in axes for line in ax.get_lines() if line.get_label() in series}
    handles = [drawn[name] for name in series if name in drawn]
    figure.legend(handles=handles, loc="outside upper center", ncols=4 if spec.width == "one" else 8)
    return figure, f"{plain(spec.label)}. {'; '.join(said)}."


def _panel(ax: Axes, panel: MetricsPanel, arms: list[Arm], series: list[str], names: Names) -> list[str]:
    """Draw each metric's means with their intervals; return them as text."""
    said = []
    for metric, words in panel.metrics.items():
        label = plain(words)
        i = series.index(label)
        look = style.series_style(i)
        xs, ys = [], []
        for row, arm in enumerate(arms):
            seeds = list(names.frame.values(arm, metric).values())
            if not seeds:
                continue
            y = row + SPREAD * (i / max(len(series) - 1, 1) - 0.5)
            xs.append(summarize(seeds).mean)
            ys.append(y)
            ax.hlines(y, *ends(seeds, "t95", names.metric(metric).unit), color=look["color"], linewidth=1.0)
            said.append(f"{panel.title} {label}, {plain(names.arm(arm))}: {xs[-1]:.3g}".strip())
        if xs:
            ax.plot(xs, ys, label=label, linestyle="none", color=look["color"], marker=look["marker"])
    ax.set_title(plain(panel.title))
    ax.tick_params(axis="y", length=0)
    return said
