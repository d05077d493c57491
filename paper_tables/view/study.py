"""A study's results as an object: data for pandas, and the tables, figures, claims and comparisons of its report."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from paper_tables.core.errors import suggest
from paper_tables.core.paths import table_file_of
from paper_tables.core.statistics import summarize
from paper_tables.core.text import join_and
from paper_tables.data.frame import Arm, Frame
from paper_tables.site.report import counts, distinct, question
from paper_tables.site.study_tables import StudyTables
from paper_tables.tables.grid import NoData
from paper_tables.view import page
from paper_tables.view.claims import Claims
from paper_tables.view.comparison import Comparison, compare
from paper_tables.view.figure import Figure
from paper_tables.view.select import Wanted, wrong
from paper_tables.view.table import Table

if TYPE_CHECKING:
    import pandas as pd

ARM = ["part", "arm", "seed", "trial"]


class StudyView:
    """The folder of a study as ``studies tables`` leaves it. Everything is made when it is first asked for."""

    def __init__(self, folder: Path, spec: Path | None = None) -> None:
        """spec: the table file; default: the study's own. Raises TableError if there are no results."""
        self.study = StudyTables.load(folder, table_file_of(folder, spec))

    # ---- data

    @property
    def frame(self) -> pd.DataFrame:
        """One row per planned trial: part, arm, seed, status, axes, metrics, cost, environment."""
        return self._frame.rows.copy()

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Every logged value: part, arm, seed, trial, metric, step, value; a trial of two arms is there twice."""
        return self._frame.rows[ARM].merge(self._frame.curves, on="trial")

    @cached_property
    def arms(self) -> pd.DataFrame:
        """One row per arm: its levels, finished and planned trials, and of each metric mean, sd and 95 % interval; n of
        a metric where it is not that of the finished trials."""
        import pandas as pd

        found = pd.DataFrame([self._arm(arm) for arm in self._frame.arms])
        counts = [f"{metric}_n" for metric in self._frame.main_metrics]
        return found.drop(columns=[name for name in counts if name in found and found[name].equals(found["n"])])

    def _arm(self, arm: Arm) -> dict[str, object]:
        frame = self._frame
        numbers: dict[str, float | None] = {}
        for metric in frame.main_metrics:
            found = summarize(values) if (values := list(frame.values(arm, metric).values())) else None
            half = found.half_width if found else None
            numbers |= {
                metric: found.mean if found else None,
                f"{metric}_sd": found.sd if found else None,
                f"{metric}_low": found.mean - half if found and half is not None else None,
                f"{metric}_high": found.mean + half if found and half is not None else None,
                f"{metric}_n": found.n if found else 0,
            }
        levels = {axis: arm.coords.get(axis, "") for axis in frame.axes}
        done = len(frame.finished_trials(arm))
        return {
            "part": arm.part, "arm": arm.label, "baseline": arm.baseline, **levels, "n": done,
            "planned": len(arm.rows), **numbers,
        }  # fmt: skip

    @property
    def _frame(self) -> Frame:
        return self.study.library.own

    # ---- tables, figures, claims

    @property
    def tables(self) -> list[str]:
        """The names of the tables that have data."""
        return [grid.name for grid in self.study.grids]

    @property
    def figures(self) -> list[str]:
        """The names of the figures that the table file has."""
        return [spec.name for spec in self.study.spec.figures]

    def table(self, name: str | None = None) -> Table:
        """Return a table, by default the first. Raises TableError for none of that name, or one without data."""
        if name is None and not self.tables:
            raise wrong(self._frame, "the study's table file has no table with data")
        found = next((grid for grid in self.study.grids if name in (None, grid.name)), None)
        if found is not None:
            return Table(found)
        if why := self.study.left_out.get(f"table {name}"):
            raise wrong(self._frame, f"table {name} has no data: {why}")
        raise wrong(self._frame, f'no table "{name}"{suggest(str(name), self.tables)}')

    def figure(self, name: str | None = None) -> Figure:
        """Return a figure, by default the first. Raises TableError for none of that name, or one without data."""
        if name is None and not self.figures:
            raise wrong(self._frame, "the study's table file has no figure")
        spec = next((spec for spec in self.study.spec.figures if name in (None, spec.name)), None)
        if spec is None:
            raise wrong(self._frame, f'no figure "{name}"{suggest(str(name), self.figures)}')
        figure = Figure(spec, self.study)
        try:
            figure.alt_text  # noqa: B018  (draws it)
        except NoData as nothing:
            raise wrong(self._frame, f"figure {spec.name} has no data: {nothing}") from None
        return figure

    def claims(self) -> Claims:
        return Claims(self.study)

    def compare(
        self, arm: Wanted, against: Wanted | None = None, metric: str | None = None, level: float = 0.95
    ) -> Comparison:
        """Compare an arm with another, by default with the baseline of its part; see `Comparison`."""
        return compare(self.study, arm, against, metric, level)

    # ---- how it shows itself

    def lines(self) -> list[str]:
        """Return what there is, in words."""
        frame = self._frame
        found = [f"{frame.study}{f', {frame.label}' if frame.label else ''}"]
        states = join_and([f"{n} {status}" for status, n in counts(frame).items()]) or "no trials"
        found.append(f"{len(distinct(frame))} trials ({states}) of {len(frame.arms)} arms")
        found.append(f"metrics: {', '.join(frame.main_metrics)}")
        found.append(f"tables: {', '.join(table.name for table in self.study.spec.tables)}")
        found.append(f"figures: {', '.join(self.figures)}")
        found.append(f"claims: {len(self.study.spec.claims)}")
        return [line for line in found if not line.endswith((": ", ": 0"))]

    def _repr_html_(self) -> str:
        frame = self._frame
        asked = page.paragraph(question(frame.metadata.study_text or ""))
        return page.framed(page.heading(frame.title), asked, page.items(self.lines()))

    def __repr__(self) -> str:
        return "\n".join([self._frame.title, *(f"  {line}" for line in self.lines())])
