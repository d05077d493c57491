"""Figures drawn once instead of three times, for tests of tables and reports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure


@contextmanager
def svg_alone() -> Iterator[None]:
    """Every figure is laid out and drawn as SVG, which reports show; its PDF and its PNG, the same drawing, are empty.

    test_build_outputs.py and test_layer_figures.py look at all three, and test_collection.py compiles the PDFs.
    """
    save = Figure.savefig

    def save_svg(figure: Figure, file: Any, *, format: str, **options: Any) -> None:
        if format == "svg":
            save(figure, file, format=format, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save_svg)
        yield
