"""A metric of pairs of layers against their distance, mean over seeds with a band."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from paper_tables.core.text import join_and, plain
from paper_tables.data.layer_pairs import by_lag, pair_values
from paper_tables.figures import style
from paper_tables.figures.curves import Track, finite, plot_track, track
from paper_tables.figures.line import groups
from paper_tables.schema.figures import Lags, Panel
from paper_tables.tables.grid import NoData
from paper_tables.tables.labels import Names, with_unit
from paper_tables.tables.select_arms import filter_arms


def draw(spec: Lags, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without data are left out. Raises NoData if all are empty."""
    found = [(panel, _tracks(panel, spec, names)) for panel in spec.panels]
    shown = [(panel, tracks) for panel, tracks in found if tracks]
    if not shown:
        raise NoData(f'no finished trial has logged "{spec.metric}" for pairs of layers')
    figure, axes = style.subplots(spec.width, spec.height or 2.5, len(shown), sharey=True)
    for ax, (panel, tracks) in zip(axes, shown, strict=True):
        _panel(ax, plain(panel.title), tracks, spec.chance)
    quantity = names.metric(spec.metric)
    axes[0].set_ylabel(plain(with_unit(quantity.label, quantity.unit)))
    descriptions = [join_and([_describe(t) for t in tracks]) for _, tracks in shown]
    chance = "" if spec.chance is None else f" By chance it would be {spec.chance:g}."
    return figure, f"{quantity.label} against the distance of two layers. {'; '.join(descriptions)}.{chance}"


def _tracks(panel: Panel, spec: Lags, names: Names) -> list[Track]:
    arms = filter_arms(names.frame, {**spec.filter, **panel.filter})
    tracks = []
    for level, group in groups(names.frame, arms, panel.color).items():
        points = finite(by_lag(pair_values(names.frame, group, spec.metric)))
        if points.empty:
            continue
        label = names.part(level) if panel.color == "part" else names.setting(panel.color or "", level) if level else ""
        tracks.append(track(plain(label or names.arm(group[0])), points, spec.error))
    return tracks


def _panel(ax: Axes, title: str, tracks: list[Track], chance: float | None) -> None:
    for i, found in enumerate(tracks):
        plot_track(ax, found, i)
    if chance is not None:
        ax.axhline(chance, color=style.GRAY, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.annotate("by chance", (0, chance), xycoords=("axes fraction", "data"), xytext=(3, -8),
                    textcoords="offset points", fontsize=7, color=style.GRAY)  # fmt: skip
    ax.set_xlabel("layers later")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, title=title, title_fontsize=8.5)


def _describe(found: Track) -> str:
    return f"{found.label} goes from {found.mean[0]:.2f} at distance {found.x[0]:g} to {found.mean[-1]:.2f}"
