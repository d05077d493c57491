"""Draw a figure by its kind: ``kind: line`` calls `draw` of ``figures/line.py``."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from matplotlib.figure import Figure

from paper_tables.figures import style
from paper_tables.schema.figures import FigureSpec
from paper_tables.tables.holm_family import HolmFamily
from paper_tables.tables.labels import Names


@dataclass(frozen=True)
class DrawnFigure:
    """A drawn figure as file contents; `alt_text` describes it for screen readers."""

    name: str
    caption: str
    alt_text: str
    files: dict[str, bytes]
    wide: bool = False


def draw(spec: FigureSpec, names: Names, family: HolmFamily | None = None) -> DrawnFigure:
    """Return the drawn figure. Raises NoData if its data are missing. `family`: the study's tests, for marks."""
    with style.apply_style():
        figure, alt_text = make_figure(spec, names, family)
        files = style.render_files(figure, names.frame.provenance)
        return DrawnFigure(spec.name, spec.caption, alt_text, files, spec.width == "two")


def make_figure(spec: FigureSpec, names: Names, family: HolmFamily | None = None) -> tuple[Figure, str]:
    """Return the figure, in whatever style is set, and its alternative text. Raises NoData."""
    make = import_module(f"paper_tables.figures.{spec.kind}").draw
    made: tuple[Figure, str] = make(spec, names, family) if spec.kind == "forest" else make(spec, names)
    return made
