"""A table of a study as an object: the cells of the written one, as data and in every format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from paper_tables.core.text import plain
from paper_tables.formats import csv, html, latex, markdown
from paper_tables.tables.grid import Grid
from paper_tables.view import page

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Table:
    """A table as it is written to ``tables/``. In a notebook it shows itself."""

    grid: Grid

    @property
    def name(self) -> str:
        return self.grid.name

    @property
    def caption(self) -> str:
        return plain(self.grid.caption)

    @property
    def notes(self) -> list[str]:
        """What stands below the table, without LaTeX."""
        return [plain(note) for note in (*self.grid.letters, *self.grid.notes)]

    @cached_property
    def data(self) -> pd.DataFrame:
        """The table as pandas has it: a column per column, its numbers unrounded in the printed unit.

        Behind a column with spreads is one of them (``… ±``), behind one with tests their p values after Holm's
        correction (``… p``). Rows carry the title of their group and the texts that print shows once.
        """
        import pandas as pd

        columns = self._texts()
        for i, head in enumerate(self.grid.heads):
            cells = [row.wide[i] for row in self.grid.rows]
            name = _unused(plain(head.full), columns)
            if head.words:
                columns[name] = self._repeated([plain(cell.text) for cell in cells], i == 0)
                continue
            if head.kind == "count":
                columns[name] = [cell.n for cell in cells]
                continue
            columns[name] = [cell.value for cell in cells]
            if any(cell.spread is not None for cell in cells):
                columns[_unused(f"{name} ±", columns)] = [cell.spread for cell in cells]
            if any(cell.holm is not None for cell in cells):
                columns[_unused(f"{name} p", columns)] = [cell.holm for cell in cells]
        frame = pd.DataFrame(columns)
        return frame.astype({name: float for name in frame if frame[name].map(_is_float).all()})

    def _texts(self) -> dict[str, list[object]]:
        """Return the titles of the groups, if there are any, as the first column, as in the CSV."""
        titles: list[object] = []
        title = ""
        for row in self.grid.rows:
            title = plain(row.group).partition(";")[0] or title
            titles.append(title)
        return {"Part": titles} if title else {}

    def _repeated(self, texts: list[str], first: bool) -> list[object]:
        """Fill the blanks of the first column with the text above, inside a group."""
        found: list[object] = []
        for text, row in zip(texts, self.grid.rows, strict=True):
            found.append(text if text or not first or row.group or not found else found[-1])
        return found

    @property
    def latex(self) -> str:
        """For ``\\usepackage{booktabs,siunitx,xcolor,graphicx}``."""
        return latex.write(self.grid)

    @property
    def markdown(self) -> str:
        return markdown.write(self.grid)

    @property
    def csv(self) -> str:
        return csv.write(self.grid)

    @property
    def html(self) -> str:
        """The table and its notes, without a page around them."""
        return html.table(self.grid, None) + html.notes(self.grid)

    def _repr_html_(self) -> str:
        return page.framed(self.html)

    def __repr__(self) -> str:
        return f"{self.name}: {self.caption}\n{self.data.to_string(index=False)}"


def _unused(name: str, taken: dict[str, list[object]]) -> str:
    """Return a name for a column that is not taken yet."""
    return name if name not in taken else next(n for i in range(2, 99) if (n := f"{name} ({i})") not in taken)


def _is_float(value: object) -> bool:
    return value is None or isinstance(value, float)
