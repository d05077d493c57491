"""Mean rank of each level of an axis, such as methods at equal cost, with its interval over seeds."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import rankdata

from paper_tables.core.statistics import summarize
from paper_tables.core.text import plain
from paper_tables.data.frame import Arm
from paper_tables.figures import style
from paper_tables.figures.series import half_width
from paper_tables.schema.figures import Ranks
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import filter_arms, levels


def draw(spec: Ranks, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text. Raises NoData where no seed has all arms."""
    arms = [arm for arm in filter_arms(names.frame, spec.filter) if {spec.of, spec.over} <= arm.coords.keys()]
    of, over = (levels(names.frame, arms, axis, spec.filter) for axis in (spec.of, spec.over))
    ranks = mean_ranks(names, {(a.coords[spec.of], a.coords[spec.over]): a for a in arms}, of, over, spec.y)
    if not ranks:
        raise NoData(f"no seed with {spec.y} at every level of {spec.of} and {spec.over}")
    found = sorted(((summarize(seeds), seeds, level) for level, seeds in ranks.items()), key=lambda one: one[0].mean)
    figure, (ax,) = style.subplots(spec.width, spec.height or 0.7 + 0.18 * len(found))
    look = style.series_style(0)
    for y, (summary, seeds, _) in enumerate(found):
        ax.plot(seeds, [y] * len(seeds), marker="|", color=look["color"], linestyle="none", alpha=0.55)
        ax.errorbar(
            summary.mean, y, xerr=half_width(summary, "t95"), color=look["color"], marker=look["marker"], capsize=2,
            elinewidth=1.0,
        )  # fmt: skip
    labels = [plain(names.level(spec.of, level)) for _, _, level in found]
    ax.set_yticks(range(len(found)), labels)
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.set_xlim(0.5, len(found) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel(f"Mean rank by {plain(names.metric(spec.y).label)} (1: best of {len(found)})")
    text = ", ".join(f"{label}: {one[0].mean:.1f}" for label, one in zip(labels, found, strict=True))
    return figure, f"Mean ranks over {len(over)} levels of {plain(names.axis(spec.over))}. {text}."


def mean_ranks(
    names: Names, arms: dict[tuple[str, str], Arm], of: list[str], over: list[str], metric: str
) -> dict[str, list[float]]:
    """Return by level of `of` its mean rank over the levels of `over`, for each seed that has every arm.

    Equal values share the mean of their ranks. 1 is the best.
    """
    sign = 1 if names.frame.direction(metric) == "min" else -1
    values = {key: names.frame.values(arm, metric) for key, arm in arms.items()}
    cells = [values.get((level, at), {}) for level in of for at in over]
    seeds = sorted(set.intersection(*(set(cell) for cell in cells))) if cells else []
    found: dict[str, list[float]] = {level: [] for level in of if seeds}
    for seed in seeds:
        ranks = [rankdata([sign * values[level, at][seed] for level in of]) for at in over]
        for level, mean in zip(of, sum(ranks) / len(over), strict=True):
            found[level].append(float(mean))
    return found
