"""A figure whose refusals are those of the Python interface."""

from __future__ import annotations

from pathlib import Path

from paper_tables.view.figure import Figure
from studies.engine.api.errors import as_sentences


class _Figure(Figure):
    __doc__ = Figure.__doc__

    def save(self, path: str | Path) -> Path:
        """Write the figure as the path's ending says: .pdf, .svg or .png. Raises ResultsError for another, and where it
        cannot be written."""
        with as_sentences():
            return super().save(path)


def saving_in_sentences(figure: Figure) -> Figure:
    return _Figure(figure.spec, figure.study)
