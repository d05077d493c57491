"""What a table file makes of a study's results: tables, verdicts, figures, and their tests as one family.

Files, the report, the terminal and objects in Python are made from this one source, so that they show the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from paper_tables.claims import table as claims_table
from paper_tables.claims.findings import counted
from paper_tables.claims.verdicts import ClaimResult
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.figures import draw
from paper_tables.figures.forest import effects
from paper_tables.formats import printed
from paper_tables.schema.figures import Forest
from paper_tables.schema.table_file import Spec, read_table_file
from paper_tables.site.default_spec import default_spec
from paper_tables.tables.grid import Grid, NoData
from paper_tables.tables.holm_family import HolmFamily, cells_of
from paper_tables.tables.labels import Names
from paper_tables.tables.notes import added_seeds
from paper_tables.tables.table import build
from paper_tables.validate.table_file import check

Made = TypeVar("Made")
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class StudyTables:
    """Everything is made when it is first asked for."""

    names: Names
    library: StudyFrames
    left_out: dict[str, str] = field(default_factory=dict)
    """``table NAME`` or ``figure NAME`` -> why it has no data; complete once all were made."""

    @classmethod
    def load(cls, folder: Path, spec_file: Path | None) -> StudyTables:
        """Read a study's frame and its table file; without one, a default table and figures. Raises TableError."""
        library = StudyFrames(folder, load_frame(folder))
        return cls(Names(_spec(library, spec_file), library.own), library)

    @property
    def spec(self) -> Spec:
        return self.names.spec

    @cached_property
    def grids(self) -> list[Grid]:
        """The tables with data, their tests marked."""
        for grid in self._unmarked:
            self.family.mark(grid)
        return self._unmarked

    @cached_property
    def _unmarked(self) -> list[Grid]:
        return self._each(self.spec.tables, lambda table: build(table, self.names, self.library), "table")

    @cached_property
    def family(self) -> HolmFamily:
        """The tests of all tables and figures."""
        forests = [figure for figure in self.spec.figures if isinstance(figure, Forest)]
        drawn = [effect.cell for figure in forests for effect in effects(figure, self.names)]
        return HolmFamily([*cells_of(self._unmarked), *drawn], added_seeds(self.names.frame))

    @property
    def claim_grids(self) -> list[Grid]:
        """The tables of claims; none if the study has none."""
        return self._judged[0]

    @property
    def judged(self) -> list[ClaimResult]:
        return self._judged[1]

    @cached_property
    def _judged(self) -> tuple[list[Grid], list[ClaimResult]]:
        return claims_table.build(self.spec, self.names, self.library) if self.spec.claims else ([], [])

    @cached_property
    def claims(self) -> list[dict[str, Any]]:
        """The claims as JSON; see `claims_table.summary`."""
        return claims_table.summary(self.judged, self.names)

    def summary(self) -> dict[str, Any]:
        """Return what a terminal shows: the printed tables, the claims, how many of them have which verdict."""
        tables = [printed.write(grid) for grid in [*self.grids, *self.claim_grids]]
        return {"printed": tables, "claims": self.claims, "verdicts": counted(self.claims)}

    @cached_property
    def pictures(self) -> list[draw.DrawnFigure]:
        """The figures with data."""
        return self._each(self.spec.figures, lambda spec: draw.draw(spec, self.names, self.family), "figure")

    def _each(self, specs: tuple[Entry, ...], make: Callable[[Entry], Made], kind: str) -> list[Made]:
        """Return what can be made; add the rest to `left_out` with its reason."""
        made = []
        for spec in specs:
            try:
                made.append(make(spec))
            except NoData as nothing:
                self.left_out[f"{kind} {getattr(spec, 'name', '')}"] = str(nothing)
        return made


def _spec(library: StudyFrames, file: Path | None) -> Spec:
    if file is None:
        return default_spec(library.own)
    spec, document = read_table_file(file, _shown(file))
    check(spec, document, library)
    return spec


def _shown(file: Path) -> str:
    """Return the path relative to the working directory if it is below it."""
    here = Path.cwd()
    return str(file.resolve().relative_to(here)) if file.resolve().is_relative_to(here) else str(file)
