"""Figures by kind, as bytes in three formats with a description in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from paper_tables.figures import curves, dots, forest, heatmap, lags, line, scatter, style, token_maps
from paper_tables.schema.figures import FigureSpec
from paper_tables.tables.labels import Names

KINDS: dict[str, Callable[[Any, Names], tuple[Figure, str]]] = {
    "line": line.draw,
    "scatter": scatter.draw,
    "forest": forest.draw,
    "dots": dots.draw,
    "curves": curves.draw,
    "layers": curves.draw,
    "heatmap": heatmap.draw,
    "lags": lags.draw,
    "maps": token_maps.draw,
}


@dataclass(frozen=True)
class DrawnFigure:
    """A drawn figure; `words` tell what it shows to those who cannot see it."""

    name: str
    caption: str
    words: str
    files: dict[str, bytes]
    wide: bool = False


def draw(spec: FigureSpec, names: Names) -> DrawnFigure:
    """Raises grid.Nothing where the figure's data are missing."""
    with style.apply_style():
        figure, words = KINDS[getattr(spec, "kind", "")](spec, names)
        provenance = f"frame {names.frame.digest} git {names.frame.git}"
        return DrawnFigure(spec.name, spec.caption, words, style.render_files(figure, provenance), spec.width == "two")
