"""The tests of a study as one family: Holm's correction over every marked difference in its tables and figures.

A star in a table and a filled point in a figure then mean the same. A difference shown twice is one test.
"""

from __future__ import annotations

from collections.abc import Iterable

from paper_tables.core.statistics import holm
from paper_tables.tables.grid import Cell, Grid
from paper_tables.tables.notes import test_notes

KINDS = ("t", "mcnemar")
"""Each is a family of its own."""


class HolmFamily:
    """Adjusted p values of the tests in `cells`; `note`: what else is said where a star is."""

    def __init__(self, cells: Iterable[Cell], note: str = "") -> None:
        self.note = note
        found = {(cell.test, cell.tested): cell.p for cell in cells if cell.p is not None}
        self.sizes: dict[str, int] = {}
        self._adjusted: dict[tuple[str, object], float | None] = {}
        for kind in KINDS:
            mine = [key for key in found if key[0] == kind]
            self.sizes[kind] = len(mine)
            self._adjusted |= zip(mine, holm([found[key] for key in mine]), strict=True)

    def adjusted(self, cell: Cell) -> float | None:
        """Return the adjusted p value; None for a cell without a test or outside this family."""
        return self._adjusted.get((cell.test, cell.tested)) if cell.p is not None else None

    def mark(self, grid: Grid) -> None:
        """Set the adjusted p values of a table and write its notes on tests, which say what a star means."""
        cells = [cell for row in grid.rows for cell in row.cells]
        for cell in cells:
            cell.holm = self.adjusted(cell)
        at = len(grid.notes) if grid.tests_at is None and any(cell.star for cell in cells) else grid.tests_at
        if at is not None:
            note = [self.note] if self.note and any(cell.star for cell in cells) else []
            grid.notes[at:at] = [*test_notes(cells, self.sizes), *note]


def cells_of(grids: Iterable[Grid]) -> list[Cell]:
    return [cell for grid in grids for row in grid.rows for cell in row.cells]
