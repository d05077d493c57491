"""What the notes of a table say of tests with few seeds, and of seeds that looks have added."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frame
import yaml
from scipy import stats

from paper_tables.core import sequential
from paper_tables.site.study_tables import StudyTables
from paper_tables.tables.notes import ALPHA_AFTER_LOOKS

CALM = [0.01, -0.01, 0.0]
"""The spread of an arm whose star is not far to get."""
WILD = [2.0, -2.0, 0.0]


def notes(folder: Path, columns: list[str]) -> list[str]:
    """The notes on power of a table with three arms beside its baseline, one of which has more seeds."""
    arms = {"base": [0.0] * 6, "calm": [4 + x for x in CALM], "wild": WILD, "many": [9.0, 0, 0, 0, 0, 0]}
    rows = [
        {"study": "s", "part": "p", "trial": f"{arm}{seed}", "arm": arm, "baseline": arm == "base", "seed": seed,
         "status": "done", "metric.top1": 70 + gain, "metric.loss": 1 + gain / 100}
        for arm, gains in arms.items() for seed, gain in enumerate(gains)
    ]  # fmt: skip
    metrics = {"top1": {"direction": "max", "unit": "%"}, "loss": {"direction": "min"}}
    synthetic_frame.write(folder / "s", pd.DataFrame(rows), meta={"study": "s", "metrics": metrics})
    table = {"name": "t", "columns": [{"metric": m, "show": "paired_difference", "mark": "holm"} for m in columns]}
    (folder / "t.yaml").write_text(yaml.safe_dump({"study": "s", "tables": [table]}))
    grid = StudyTables.load(folder / "s", folder / "t.yaml").grids[0]
    assert next("*" in grid.mark(cell) for row in grid.rows for cell in row.cells if cell.p is not None)
    return [note for note in grid.notes if note.startswith("Power")]


def test_a_star_is_no_contradiction_to_the_note_on_power(tmp_path: Path) -> None:
    """A difference of 4 points has a star where its spread is small: the note is of spreads, and of the arms with the
    fewest seeds alone."""
    factor = stats.t.ppf(1 - 0.05 / 6, 2) / math.sqrt(3)
    median = (np.std(CALM, ddof=1) + np.std(WILD, ddof=1)) / 2
    (note,) = notes(tmp_path, ["top1"])
    said = "Power: with 3 seeds, the fewest here, only a difference of {:.1f} standard deviations of its pairs or more"
    assert note.startswith(said.format(factor))
    assert f"could be significant, {factor * median:.1f} points at their median:" in note


def test_the_note_on_power_adds_up_no_units(tmp_path: Path) -> None:
    (note,) = notes(tmp_path, ["top1", "loss"])
    assert "or more could be significant: the absence" in note


@pytest.mark.parametrize("bound", [0.0, -0.2, -0.3, -0.5])
def test_stars_after_looks_are_wrong_as_often_as_the_note_says(bound: float) -> None:
    """A difference of 0, looked at until it is decided about a bound in standard deviations, then tested against 0."""
    looks, draws = (3, 5, 8, 12, 20), 40_000
    level, x = sequential.nominal_error(looks), np.random.default_rng(8).standard_normal((draws, looks[-1]))
    wrong, open_still = np.zeros(draws, bool), np.ones(draws, bool)
    for n in looks:
        mean, error, t = x[:, :n].mean(axis=1), x[:, :n].std(axis=1, ddof=1) / math.sqrt(n), stats.t(n - 1)
        ends = open_still & ((np.abs(mean - bound) > t.ppf(1 - level / 2) * error) | (n == looks[-1]))
        wrong |= ends & (np.abs(mean) > t.ppf(0.975) * error)
        open_still &= ~ends
    assert 0.08 < wrong.mean() < ALPHA_AFTER_LOOKS
