"""A figure whose refusals are those of the Python interface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from studies.engine.api.errors import as_sentences

if TYPE_CHECKING:
    from paper_tables.view.figure import Figure


def saving_in_sentences(figure: Figure) -> Figure:
    """Return the figure with a `save` that raises ResultsError for an ending that is none of its formats, and where it
    cannot be written."""

    class SavedFigure(type(figure)):  # type: ignore[misc]  # its module, and with it matplotlib, is imported late
        def save(self, path: str | Path) -> Path:
            with as_sentences():
                saved: Path = super().save(path)
                return saved

    found: Figure = SavedFigure(figure.spec, figure.study)
    return found
