"""A figure of a study as an object: the bytes of the written files, and the matplotlib figure to work on."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

from matplotlib.figure import Figure as MatplotlibFigure

from paper_tables.core.errors import file_error
from paper_tables.core.text import plain
from paper_tables.figures import draw, style
from paper_tables.schema.figures import FigureSpec
from paper_tables.site.study_tables import StudyTables
from paper_tables.view import page


@dataclass(frozen=True, repr=False)
class Figure:
    """A figure as it is written to ``figures/``. In a notebook it shows itself."""

    spec: FigureSpec
    study: StudyTables

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def caption(self) -> str:
        return plain(self.spec.caption)

    @property
    def alt_text(self) -> str:
        """The figure in words."""
        return plain(self._drawn.alt_text)

    @cached_property
    def _drawn(self) -> draw.DrawnFigure:
        return draw.draw(self.spec, self.study.names, self.study.family)

    @property
    def svg(self) -> bytes:
        return self._drawn.files["svg"]

    @property
    def png(self) -> bytes:
        return self._drawn.files["png"]

    @property
    def pdf(self) -> bytes:
        return self._drawn.files["pdf"]

    def save(self, path: str | Path) -> Path:
        """Write the figure as the path's ending says: .pdf, .svg or .png. Raises TableError for another."""
        path = Path(path)
        if (ending := path.suffix.removeprefix(".")) not in self._drawn.files:
            raise file_error(path, f"figures are saved as {', '.join(self._drawn.files)}")
        path.write_bytes(self._drawn.files[ending])
        return path

    def matplotlib(self) -> MatplotlibFigure:
        """Return the figure drawn anew in the suite's style, to change and save; ``.axes`` are its panels."""
        with style.apply_style():
            return draw.make_figure(self.spec, self.study.names, self.study.family)[0]

    def _repr_html_(self) -> str:
        # a data URL: inline elements would mix the ids of several figures
        data = base64.b64encode(self.svg).decode()
        image = f'<img alt="{escape(self.alt_text)}" src="data:image/svg+xml;base64,{data}">'
        return page.framed(f"<figure>{image}<figcaption>{escape(self.caption)}</figcaption></figure>")

    def __repr__(self) -> str:
        return f"{self.name}: {self.caption}\n{self.alt_text}"
