"""By which interval a condition is judged: at looks, between them, with lost trials, unpaired, with the images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_frame
from looked_at import (
    BASE,
    CLEAR,
    DECIDE,
    LATER,
    LOOKS,
    claim,
    judged,
    only,
    over,
    predicted,
    spec,
    study,
)
from scipy import stats

from paper_tables import build
from paper_tables.claims.judge import judge_claim
from paper_tables.claims.looks import take_look
from paper_tables.claims.standing import WHOLE_ERROR
from paper_tables.claims.verdicts import ConditionResult
from paper_tables.core import sequential
from paper_tables.data.load import load_frame, tidy_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.claims import Claim
from paper_tables.schema.table_file import read_table_file


@pytest.mark.parametrize("n", [4, 6, 7])
def test_between_looks_the_interval_holds_at_every_n(n: int, tmp_path: Path) -> None:
    file = spec(tmp_path, claim("later"))
    folder = study(tmp_path, {"base": BASE, "later": over(LATER)[:n]})
    tested = only(folder, file)
    half = sequential.confidence_sequence(LATER[:n], 0.05)
    assert tested.low == pytest.approx(np.mean(LATER[:n]) - half)
    assert tested.remarks[0] == f"n = {n} is no look: the interval is one that holds at every n"
    assert tested.look == ""
    with pytest.raises(ValueError, match=rf"{n} seeds are no look of s: \[3, 5, 8\]"):
        take_look(folder, file, n)


def test_too_few_between_looks(tmp_path: Path) -> None:
    decide = {"looks": [5, 8], "error": 1e-6}
    tested = only(study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]}, decide), spec(tmp_path, claim("clear")))
    assert (tested.verdict, tested.reason) == ("undecided", "too few seeds for an interval that holds at every n")


def test_a_study_without_looks_is_judged_once(tmp_path: Path) -> None:
    file = spec(tmp_path, claim("later"))
    tested = only(study(tmp_path, {"base": BASE[:3], "later": over(LATER)[:3]}, {}), file)
    half = sequential.half_width(3, np.std(LATER[:3], ddof=1), 0.05)
    assert (tested.low, tested.look) == (pytest.approx(np.mean(LATER[:3]) - half), "")


def test_a_diverged_trial_is_lost_too(tmp_path: Path) -> None:
    folder = study(tmp_path, {"base": BASE[:5], "clear": over(CLEAR)[:5]})
    frame = load_frame(folder)
    frame.rows.loc[frame.rows["trial"].isin(["clear1", "clear3"]), "metric.top1"] = math.inf
    (one,) = read_table_file(spec(tmp_path, claim("clear")))[0].claims
    tested = judge_claim(one, StudyFrames(folder, frame)).tested[0]
    assert (tested.verdict, tested.reason) == ("undecided", "2 of 5 trials of p clear failed or diverged")


def test_any_of_several_shares_the_error(tmp_path: Path) -> None:
    condition = claim("later")["conditions"][0]
    both = {**claim("later"), "need": "any", "conditions": [condition, {**condition, "at_least": 1}]}
    counted = {"metric": "params_m", "of": {"arm": "base"}, "at_least": 1}
    for decide, single in ((DECIDE, sequential.nominal_error(LOOKS, 0.025)), ({}, 0.025)):
        folder = study(tmp_path / str(len(decide)), {"base": BASE[:5], "later": over(LATER)[:5]}, decide)
        half = sequential.half_width(5, np.std(LATER[:5], ddof=1), single)
        for conditions in (both["conditions"], [*both["conditions"], counted]):  # what is counted takes no share
            file = spec(tmp_path, {**both, "conditions": conditions})
            tested = judged(folder, file)["later"].tested[0]
            assert (tested.low, tested.error) == (pytest.approx(np.mean(LATER[:5]) - half), pytest.approx(single))
    alone = only(folder, spec(tmp_path, {**both, "conditions": [condition]}))
    assert alone.error == pytest.approx(0.05)


@pytest.mark.parametrize("decide", [DECIDE, {}])
def test_one_of_several_contradicts_at_its_share_of_the_error(decide: dict[str, Any], tmp_path: Path) -> None:
    """Where all are needed, one that fails is enough; where any is, all must fail, each at the whole error."""
    condition = claim("later")["conditions"][0]
    gains = np.array(LATER[:5])
    errors = [sequential.nominal_error(LOOKS, e) if decide else e for e in (0.05, 0.05 / 3)]
    bound = gains.mean() + sum(sequential.half_width(5, gains.std(ddof=1), e) for e in errors) / 2  # between the two
    folder = study(tmp_path, {"base": BASE[:5], "later": over(LATER)[:5]}, decide)
    for need, low_bound, verdict in (
        ("all", bound, "undecided"),
        ("all", bound + 1, "contradicted"),
        ("any", bound, "contradicted"),
        ("any", gains.mean(), "undecided"),
    ):
        conditions = [{**condition, "at_least": at} for at in (float(low_bound), 0, 0.1)]
        file = spec(tmp_path, {**claim("later"), "need": need, "conditions": conditions})
        tested = judged(folder, file)["later"].tested[0]
        assert tested.verdict == verdict
        assert tested.error == pytest.approx(errors[need == "any"])
        assert ("as one of 3" in tested.reason) == ((need, verdict) == ("all", "undecided"))
        assert (WHOLE_ERROR in tested.remarks) == ((need, verdict) == ("any", "contradicted"))
    if decide:
        file = spec(
            tmp_path, {**claim("later"), "need": "any", "conditions": [{**condition, "at_least": float(bound)}] * 3}
        )
        take_look(folder, file, 5)
        kept = judged(folder, file)["later"].tested[0]
        assert (kept.verdict, kept.kept is not None, kept.remarks) == ("contradicted", True, (WHOLE_ERROR,))


def test_the_interval_that_includes_the_images(tmp_path: Path) -> None:
    """Beside the one over seeds, of the trials that count; not where the accuracies are others."""
    file = spec(tmp_path, claim("clear"))
    arms = {"base": [70.0, 70.5, 69.5, 70.0, 70.5], "clear": [75.0, 76.0, 74.0, 75.5, 75.0]}
    folder = study(tmp_path, arms)
    assert only(folder, file).with_images is None
    predicted(folder, arms)
    tested = only(folder, file)
    assert tested.with_images is not None and tested.low is not None and tested.estimate is not None
    assert tested.with_images[0] < tested.low < tested.estimate < tested.with_images[1]
    first = {arm: values[:3] for arm, values in arms.items()}
    alone = study(tmp_path / "first", first)
    predicted(alone, first)
    take_look(folder, file, 3)
    assert only(folder, file).with_images == only(alone, file).with_images != tested.with_images
    predicted(alone, {"base": [60.0] * 3, "clear": [75.0] * 3})
    assert only(alone, file).with_images is None


@pytest.mark.parametrize(("n", "shown"), [(3, True), (4, False), (5, True)])
def test_between_looks_no_interval_includes_the_images(n: int, shown: bool, tmp_path: Path) -> None:
    """Student's t does not hold at every n: it would be narrower than the interval of the seeds alone."""
    arms = {"base": [70.0, 70.5, 69.5, 70.0, 70.5][:n], "clear": [75.0, 76.0, 74.0, 75.5, 75.0][:n]}
    folder = study(tmp_path, arms)
    predicted(folder, arms)
    assert (only(folder, spec(tmp_path, claim("clear"))).with_images is not None) == shown


def at_least_zero(a: list[float], b: list[float], shift: int = 0, **columns: float) -> ConditionResult:
    """Whether a is above b; the seeds of b start at `shift`."""
    rows = [
        {"study": "s", "part": "p", "trial": f"{arm}{seed}", "arm": arm, "baseline": arm == "b", "seed": seed,
         "status": "done", "metric.top1": value, **columns}
        for arm, values, first in (("a", a, 0), ("b", b, shift)) for seed, value in enumerate(values, first)
    ]  # fmt: skip
    frame = tidy_frame(pd.DataFrame(rows), pd.DataFrame(), {"study": "s"})
    condition: dict[str, Any] = {"metric": "top1", "of": {"arm": "a"}, "against": {"arm": "b"}, "at_least": 0}
    claim = Claim.model_validate({"name": "c", "text": "t", "paper": "p", "conditions": [condition]})
    return judge_claim(claim, StudyFrames(Path("nowhere/s"), frame)).tested[0]


@pytest.mark.parametrize(("common", "welch_used"), [(0, True), (2, True), (3, False)])
def test_welch_below_three_common_seeds(common: int, welch_used: bool) -> None:
    a, b = [72.0, 72.2, 71.9, 72.4], [70.0, 70.1, 70.0, 69.0]
    tested = at_least_zero(a, b, shift=4 - common)
    pairs = [x - y for x, y in zip(a[4 - common :], b, strict=False)]
    result = stats.ttest_ind(a, b, equal_var=False) if welch_used else stats.ttest_1samp(pairs, 0)
    expected = result.confidence_interval()
    assert (tested.low, tested.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert ("Welch's t test: fewer than three seeds in common" in tested.remarks) == welch_used


def test_two_seeds_decide_nothing() -> None:
    tested = at_least_zero([72.0, 72.2], [70.0, 70.1, 70.0])
    assert (tested.n, tested.verdict, tested.remarks) == (2, "undecided", ())


def test_what_would_decide() -> None:
    tested = at_least_zero([71.0, 72.2, 69.9], [70.0, 70.1, 70.0], **{"cost.seconds": 1800.0})
    assert tested.needed is not None
    half = stats.t.ppf(0.975, tested.needed - 1) * np.std([1.0, 2.1, -0.1], ddof=1) / math.sqrt(tested.needed)
    assert half <= 1.0 < half * 1.2
    assert tested.remarks == ("about 8 seeds would decide at this estimate and spread (5 hours more)",)
    one_minute = at_least_zero([71.0, 72.2, 69.9], [70.0, 70.1, 70.0], **{"cost.seconds": 6.1})
    assert one_minute.remarks[0].endswith("(1 minute more)")
    days = at_least_zero([71.0, 72.2, 69.9], [70.0, 70.1, 70.0], **{"cost.seconds": 40000.0})
    assert days.remarks[0].endswith("(110 hours more)")
    at_the_bound = at_least_zero([71.0, 70.0, 69.0], [70.0, 70.0, 70.0])
    assert at_the_bound.remarks == ("no number of seeds would decide at this estimate",)


@pytest.mark.parametrize(
    ("looks", "n", "said"),
    [
        ([3, 5, 8], 3, "the look at 5 seeds would decide"),
        ([3, 6, 8], 3, "the look at 6 seeds would decide"),
        ([3, 5, 8], 4, "the look at 5 seeds would decide"),
        ([3, 4], 4, "not by the last look, 4: about 7 seeds would decide"),
    ],
)
def test_what_would_decide_is_a_look(looks: list[int], n: int, said: str, tmp_path: Path) -> None:
    arms, bound = {"base": BASE[:n], "later": over(LATER)[:n]}, 1 if said.startswith("not") else 0
    tested = only(study(tmp_path, arms, {"looks": looks}), spec(tmp_path, claim("later", at_least=bound)))
    assert f"{said} at this estimate and spread" in tested.remarks


@pytest.mark.parametrize(
    ("decide", "levels"), [({}, "95 % Student t"), (DECIDE, "95 % (98 % at each of several looks) Student t")]
)
def test_the_tables_name_the_levels(decide: dict[str, Any], levels: str, tmp_path: Path) -> None:
    counted = {**claim("clear", "counted", at_least=70), "kind": "counted", "by_construction": "it was built so"}
    for claims, shown in (([claim("clear"), counted], True), ([counted], False)):
        folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]}, decide)
        build(folder, spec(tmp_path, *claims))
        tests = (folder / "tables" / "claim_tests.md").read_text().replace("\xa0", " ")
        assert (levels in tests, "Student t" in tests) == (shown, shown)
        assert "it was built so" not in (folder / "tables" / "claims.md").read_text()  # contradicted


def test_a_condition_keeps_its_own_interval_at_looks(tmp_path: Path) -> None:
    folder = study(tmp_path, {"base": BASE[:3], "later": over(LATER)[:3]})
    usual, wide = (only(folder, spec(tmp_path, claim("later", **more))) for more in ({}, {"interval": 0.999}))
    assert usual.error == pytest.approx(sequential.nominal_error(LOOKS, 0.05))
    assert wide.error == pytest.approx(sequential.nominal_error(LOOKS, 0.001))


@pytest.mark.parametrize("kind", ["counted", "sampled"])
def test_costs_at_two_scales_are_not_compared(kind: str, tmp_path: Path) -> None:
    for name, scale in (("s", "gpu"), ("o", "laptop")):
        rows = [
            {"study": name, "part": "p", "trial": f"{name}{seed}", "arm": "base", "baseline": True, "seed": seed,
             "status": "done", "metric.top1": 70.0 + seed, "model.gflops": 1.0 if name == "s" else 40.0}
            for seed in range(3)
        ]  # fmt: skip
        synthetic_frame.write(tmp_path / name, pd.DataFrame(rows), meta={"study": name, "scale": scale})
    less = claim("base", kind=kind, metric="gflops", against={"study": "o", "arm": "base"})
    tested = only(tmp_path / "s", spec(tmp_path, less))
    assert (tested.verdict, tested.reason) == ("undecided", "measured at two scales, gpu and laptop")


def test_an_arm_without_cost_is_not_comparable(tmp_path: Path) -> None:
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]})
    frame = load_frame(folder)
    frame.rows["model.gflops"] = np.where(frame.rows["arm"] == "base", 0.0, 1.0)
    (one,) = read_table_file(spec(tmp_path, claim("clear", comparable=1.1)))[0].claims
    tested = judge_claim(one, StudyFrames(folder, frame)).tested[0]
    assert (tested.verdict, tested.reason) == ("undecided", "multiply-accumulates were not measured")


def test_other_files_beside_a_table_file_are_no_table_files(tmp_path: Path) -> None:
    """With `--spec`, a file of any name may lie beside the study and its clusters."""
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]})
    (tmp_path / "s.yaml").write_text("study: s\ntask: t.py\n")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- 1")
    assert take_look(folder, spec(tmp_path, claim("clear")), 3).decided == ("clear",)
