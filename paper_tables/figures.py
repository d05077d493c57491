"""Figures by kind, as bytes in three formats with a description in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from paper_tables import (
    draw_curves,
    draw_dots,
    draw_forest,
    draw_heatmap,
    draw_lags,
    draw_line,
    draw_maps,
    draw_scatter,
    style,
)
from paper_tables.drawing import Drawing
from paper_tables.names import Names

KINDS: dict[str, Callable[[Any, Names], tuple[Figure, str]]] = {
    "line": draw_line.draw,
    "scatter": draw_scatter.draw,
    "forest": draw_forest.draw,
    "dots": draw_dots.draw,
    "curves": draw_curves.draw,
    "layers": draw_curves.draw,
    "heatmap": draw_heatmap.draw,
    "lags": draw_lags.draw,
    "maps": draw_maps.draw,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure; `words` tell what it shows to those who cannot see it."""

    name: str
    caption: str
    words: str
    files: dict[str, bytes]
    wide: bool = False


def draw(spec: Drawing, names: Names) -> Picture:
    """Raises grid.Nothing where the figure's data are missing."""
    with style.house():
        figure, words = KINDS[getattr(spec, "kind", "")](spec, names)
        stamp = f"frame {names.frame.digest} git {names.frame.git}"
        return Picture(spec.name, spec.caption, words, style.save(figure, stamp), spec.width == "two")
