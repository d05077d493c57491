"""A metric of pairs of layers against their distance, mean over seeds with a band."""

from __future__ import annotations

from matplotlib.figure import Figure

from paper_tables.core.text import join_and, plain
from paper_tables.data.layer_pairs import by_lag, pair_values
from paper_tables.figures import style
from paper_tables.figures.series import (
    Track,
    axis_label,
    draw_chance,
    legend_above,
    panels_with_data,
    plot_tracks,
    tracks,
)
from paper_tables.schema.figures import Lags, Panel
from paper_tables.tables.labels import Names
from paper_tables.tables.select_arms import crossed_arms


def draw(spec: Lags, names: Names) -> tuple[Figure, str]:
    """Return the figure and its alternative text; panels without data are left out. Raises NoData if all are empty."""
    frame, unit = names.frame, names.metric(spec.metric).unit

    def lines(panel: Panel) -> list[Track] | None:
        arms = crossed_arms(frame, {**spec.filter, **panel.filter}, [panel.color or ""], inert=False)
        return tracks(names, arms, panel.color, lambda g: by_lag(pair_values(frame, g, spec.metric)), spec.error, unit)

    shown = panels_with_data(spec.panels, lines, f'no finished trial has logged "{spec.metric}" for pairs of layers')
    figure, axes = style.subplots(spec.width, spec.height or 2.5, len(shown), sharey=True)
    for ax, (panel, found) in zip(axes, shown, strict=True):
        plot_tracks(ax, found, "layers later", ticks=8)
        if spec.chance is not None:
            draw_chance(ax, spec.chance, "left")
        legend_above(ax, plain(panel.title))
    axes[0].set_ylabel(axis_label(names, spec.metric))
    descriptions = "; ".join(join_and([_describe(t) for t in found]) for _, found in shown)
    chance = "" if spec.chance is None else f" By chance it would be {spec.chance:g}."
    return figure, f"{names.metric(spec.metric).label} against the distance of two layers. {descriptions}.{chance}"


def _describe(found: Track) -> str:
    return f"{found.label} goes from {found.mean[0]:.2f} at distance {found.x[0]:g} to {found.mean[-1]:.2f}"
