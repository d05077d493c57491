"""The results of a study as one object, with the trials behind them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from studies.engine.api.errors import ResultsError, as_sentences
from studies.engine.api.figure import saving_in_sentences
from studies.engine.api.open import Place, locate
from studies.engine.api.trial import Trial
from studies.engine.core.formatting import first_few
from studies.engine.core.suggest import suggest

if TYPE_CHECKING:
    import pandas as pd

    from paper_tables.view.claims import Claims
    from paper_tables.view.comparison import Comparison
    from paper_tables.view.figure import Figure
    from paper_tables.view.study import StudyView
    from paper_tables.view.table import Table


class Results:
    """What `studies.open` returns. It is read when it is made; `studies.open` again reads what came since."""

    def __init__(self, place: Place) -> None:
        from paper_tables.view.study import StudyView

        self._place = place
        with as_sentences():
            self._view: StudyView = StudyView(place.folder, place.spec)

    @property
    def folder(self) -> Path:
        """The study's folder, with the written tables and figures. That of an export is there while this object is."""
        return self._place.folder

    # ---- for pandas

    @property
    def frame(self) -> pd.DataFrame:
        """One row per planned trial: part, arm, seed, status, axes, metrics, cost, environment."""
        return self._view.frame

    @property
    def curves(self) -> pd.DataFrame:
        """Every logged value: part, arm, seed, trial, metric, step, value."""
        return self._view.curves

    @property
    def arms(self) -> pd.DataFrame:
        """One row per arm: levels, finished and planned trials, and of each metric mean, sd and 95 % interval."""
        return self._view.arms

    # ---- as the report has them

    @property
    def tables(self) -> list[str]:
        """The names of the tables."""
        with as_sentences():
            return self._view.tables

    @property
    def figures(self) -> list[str]:
        """The names of the figures."""
        return self._view.figures

    def table(self, name: str | None = None) -> Table:
        """Return a table, by default the main one: `.data` for pandas, `.latex`, `.markdown`, `.csv`, `.html`."""
        with as_sentences():
            return self._view.table(name)

    def figure(self, name: str | None = None) -> Figure:
        """Return a figure, by default the first: `.save(path)`, `.svg`, `.png`, `.pdf`, `.matplotlib()`."""
        with as_sentences():
            return saving_in_sentences(self._view.figure(name))

    def claims(self) -> Claims:
        """Return the claims with their verdicts: `.data` and `.tests` for pandas, `.counts`."""
        with as_sentences():
            found = self._view.claims()
            found.results  # noqa: B018  (judges them, so that an error is told here)
            return found

    def compare(
        self,
        arm: str | Mapping[str, object],
        against: str | Mapping[str, object] | None = None,
        metric: str | None = None,
        level: float = 0.95,
    ) -> Comparison:
        """Compare an arm with another by a metric, paired by seed: difference, interval, p, n, as the tables have them.

        arm: a label as in `arms` (``"recursion=1"``, ``"sret recursion=1"``), or levels of axes, the others at their
        baseline (``"recursion=3, slices=none"``, ``{"recursion": 3}``). against: another; default: the baseline of the
        arm's part. metric: default the study's first with a direction; also of curves, ``"at(val.top1, 0.5)"``.
        """
        with as_sentences():
            return self._view.compare(arm, against, metric, level)

    # ---- trials

    def trial(self, beginning: str) -> Trial:
        """Return a trial by the beginning of its id. Raises ResultsError for none or several."""
        if not isinstance(beginning, str):
            raise ResultsError(f"{beginning!r} is no trial: give the beginning of its id")
        rows = self._rows
        found = [name for name in rows if name.startswith(beginning)]
        if len(found) != 1 or not beginning:
            several = f"matches {len(found)} trials: {first_few(found, 5)}"
            text = several if found else f"is no trial of these results{suggest(beginning, rows)}"
            raise ResultsError(f"{beginning or 'an empty id'} {text}; `frame` lists them in its column trial")
        return Trial(rows[found[0]], self._view.curves, self._place.trials / found[0], self._place.held)

    @cached_property
    def _rows(self) -> dict[str, dict[str, object]]:
        """Trial -> its row in the frame, of the first arm that has it."""
        records = self._view.frame.to_dict("records")
        return {str(row["trial"]): {str(key): cell for key, cell in row.items()} for row in reversed(records)}

    # ---- how it shows itself

    def _repr_html_(self) -> str:
        return self._view._repr_html_()

    def __repr__(self) -> str:
        return f"{self._view!r}\n  {self.folder}"


def open_results(study: str | Path, results: str | Path | None = None, scale: str | None = None) -> Results:
    """See `studies.open`."""
    return Results(locate(study, results, scale))
