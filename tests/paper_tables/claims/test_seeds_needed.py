"""What is said of more seeds: how many would decide, how long they take, and whether they are worth it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looked_at import BASE, DECIDE, LOOKS, claim, judged, over, spec, study
from scipy import stats

from paper_tables.claims.judge import judge_claim
from paper_tables.claims.looks import take_look
from paper_tables.core import sequential
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file

GAINS = [1.0, 2.2, -0.4, 1.2]
"""Above the bound; the interval of all or of the first three has it at any level here."""
LOSSES = [-1.0, -2.2, -1.6]
"""Below the bound; their interval has it at looks."""


def first_needed(values: list[float], error: float) -> int:
    """The least number of seeds whose interval of this error leaves out 0, by scipy."""
    mean, sd = abs(np.mean(values)), np.std(values, ddof=1)
    return next(n for n in range(2, 1000) if stats.t.ppf(1 - error / 2, n - 1) * sd / math.sqrt(n) <= mean)


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("decide", [DECIDE, {}])
@pytest.mark.parametrize(("need", "inside", "outside"), [("all", 1, 3), ("any", 3, 1)])
def test_one_of_several_needs_the_seeds_of_its_own_side(
    need: str, inside: int, outside: int, decide: dict[str, Any], n: int, tmp_path: Path
) -> None:
    """Where all of three are needed, a third of the error contradicts one; where any is, a third reproduces it."""
    spread = {sign: [sign * gain for gain in GAINS[:n]] for sign in (1, -1)}
    for sign, k in ((1, inside), (-1, outside)):
        folder = study(tmp_path / str(sign), {"base": BASE[:n], "arm": over(spread[sign])}, decide)
        conditions = claim("arm")["conditions"] * 3
        tested = judged(folder, spec(tmp_path, {**claim("arm"), "need": need, "conditions": conditions}))["arm"].tested
        error = sequential.nominal_error(LOOKS, 0.05 / k) if decide else 0.05 / k
        assert tested[0].verdict == "undecided"
        assert tested[0].needed == first_needed(spread[sign], error)


def test_the_chance_of_a_decision_has_the_level_of_each_side() -> None:
    """By drawing what is to come from the predictive distribution, value by value."""
    rng, draws, x = np.random.default_rng(3), 4000, np.array([-0.4, 0.9, -1.6, 0.2, -0.9])
    sigma = x.std(ddof=1) * np.sqrt(4 / rng.chisquare(4, draws))
    mean = x.mean() + sigma * rng.standard_normal(draws) / math.sqrt(5)
    more = mean[:, None] + sigma[:, None] * rng.standard_normal((draws, 15))
    for levels in ((0.01, 0.2), (0.2, 0.01)):
        decided = np.zeros(draws, bool)
        for n in (8, 20):
            values = np.hstack([np.tile(x, (draws, 1)), more[:, : n - 5]])
            error, t = values.std(axis=1, ddof=1) / math.sqrt(n), stats.t(n - 1)
            inside, outside = (t.ppf(1 - level / 2) * error for level in levels)
            decided |= (values.mean(axis=1) - inside >= 0) | (values.mean(axis=1) + outside < 0)
        found = sequential.chance_of_decision(5, x.mean(), x.std(ddof=1), (8, 20), levels, (0.0, math.inf))
        assert found == pytest.approx(decided.mean(), abs=0.03)


def test_a_look_knows_both_levels(tmp_path: Path) -> None:
    """What is clearly below is given up where a part of the error must contradict it, not where all of it may."""
    values = [-0.9, 0.2, -1.1]
    folder = study(tmp_path, {"base": BASE[:3], "arm": over(values)})
    futile = {}
    for need in ("all", "any"):
        claims = {**claim("arm"), "need": need, "conditions": claim("arm")["conditions"] * 40}
        (tmp_path / "s" / "decisions.json").unlink(missing_ok=True)
        futile[need] = len(take_look(folder, spec(tmp_path, claims), 3).futile)
    assert futile == {"all": 40, "any": 0}


def test_only_arms_that_lack_seeds_take_time(tmp_path: Path) -> None:
    """The baseline has more seeds already, as one that several claims share."""
    folder = study(tmp_path, {"base": BASE[:5], "arm": over(LOSSES)}, {"looks": [3, 6]})
    frame = load_frame(folder)
    frame.rows["cost.seconds"] = np.where(frame.rows["arm"] == "base", 6000.0, 600.0)
    (one,) = read_table_file(spec(tmp_path, claim("arm")))[0].claims
    tested = judge_claim(one, StudyFrames(folder, frame)).tested[0]
    assert tested.needed == 4
    assert tested.remarks == ("the look at 6 seeds would decide at this estimate and spread (2.2 hours more)",)


@pytest.mark.parametrize(("sign", "only", "costs", "decided"), [
    (1, "", 1.0, True), (1, "reproduced", 1.0, True), (1, "contradicted", 1.0, False), (-1, "reproduced", 1.0, False),
    (-1, "contradicted", 1.0, True), (1, "", 2.0, False), (-1, "", 2.0, True), (-1, "", 0.5, False),
])  # fmt: skip
def test_a_verdict_that_is_taken_back_is_no_decision(
    sign: int, only: str, costs: float, decided: bool, tmp_path: Path
) -> None:
    """Where only the other verdict can be given, or the arm costs more or less than is comparable."""
    folder = study(tmp_path, {"base": BASE[:4], "arm": over([sign * gain for gain in GAINS])}, {})
    frame = load_frame(folder)
    frame.rows["model.gflops"] = np.where(frame.rows["arm"] == "base", 1.0, costs)
    given = {"may_only": only, "may_only_reason": "so it is"} if only else {}
    (one,) = read_table_file(spec(tmp_path, claim("arm", comparable=1.1, **given)))[0].claims
    tested = judge_claim(one, StudyFrames(folder, frame)).tested[0]
    end = "would decide" if decided else "would leave it not testable"
    said = f"about {first_needed(GAINS, 0.05)} seeds {end} at this estimate and spread"
    assert (tested.verdict, tested.remarks) == ("undecided", (said,))


def test_no_number_of_seeds_decides_where_too_many_trials_are_lost(tmp_path: Path) -> None:
    folder = study(tmp_path, {"base": BASE[:5], "arm": [*over(GAINS[:3]), math.nan, math.nan]}, {})
    (tested,) = judged(folder, spec(tmp_path, claim("arm")))["arm"].tested
    assert (tested.reason, tested.remarks) == ("2 of 5 trials of p arm failed or diverged", ())
