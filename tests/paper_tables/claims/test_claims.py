"""Verdicts by rule: the interval against the tolerance, and what is said where nothing can be decided."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_frame
from scipy import stats as scipy_stats

from paper_tables import build
from paper_tables.claims.judge import judge_claim
from paper_tables.claims.verdicts import ClaimResult, combine_verdicts
from paper_tables.core.errors import TableError
from paper_tables.core.statistics import welch
from paper_tables.core.yaml_loader import load_yaml
from paper_tables.data.load import tidy_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.claims import Claim

A, B = {"arm": "a"}, {"arm": "b"}


def library(a: list[float], b: list[float], metric: str = "top1", shift: int = 0, scale: str = "laptop") -> StudyFrames:
    """Arms a and b; the seeds of b start at `shift`."""
    rows = [
        {"study": "s", "part": "p", "trial": f"{arm}{seed}", "arm": arm, "baseline": arm == "b", "seed": seed,
         "status": "done", f"metric.{metric}": value}
        for arm, values, first in (("a", a, 0), ("b", b, shift)) for seed, value in enumerate(values, first)
    ]  # fmt: skip
    return StudyFrames(
        Path("nowhere/s"), tidy_frame(pd.DataFrame(rows), pd.DataFrame(), {"study": "s", "scale": scale})
    )


def claim(*conditions: dict[str, Any], **more: Any) -> Claim:
    filled = [{"metric": "top1", "of": A, "against": B, **condition} for condition in conditions]
    return Claim.model_validate({"name": "c", "text": "t", "paper": "p", "conditions": filled, **more})


def one(lib: StudyFrames, **condition: Any) -> ClaimResult:
    return judge_claim(claim(condition), lib)


TWO_MORE = library([72.0, 72.2, 71.9], [70.0, 70.1, 70.0])  # differences 2.0, 2.1, 1.9: 2.0 +- 0.25


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ({"about": 2, "tolerance": 1}, "reproduced"),
        ({"about": 2, "tolerance": 0.1}, "undecided"),
        ({"about": 4, "tolerance": 1}, "contradicted"),
        ({"at_least": 1.5}, "reproduced"),
        ({"at_least": 2}, "undecided"),
        ({"at_least": 2, "tolerance": 0.3}, "reproduced"),
        ({"at_least": 2.5}, "contradicted"),
        ({"at_most": 2.5}, "reproduced"),
        ({"at_most": 1.5}, "contradicted"),
        ({"between": [1, 3]}, "reproduced"),
        ({"between": [3, 4]}, "contradicted"),
        ({"between": [2, 4]}, "undecided"),
    ],
)
def test_the_interval_against_the_bound(rule: dict[str, Any], verdict: str) -> None:
    tested = one(TWO_MORE, **rule).tested[0]
    assert tested.verdict == verdict
    half_width = scipy_stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert tested.estimate == pytest.approx(2.0)
    assert (tested.low, tested.high) == (pytest.approx(2 - half_width), pytest.approx(2 + half_width))
    assert tested.n == 3
    assert tested.trials == ("a0", "a1", "a2", "b0", "b1", "b2")


def test_ratio_and_saving_by_logarithms() -> None:
    lib = library([250.0, 260.0, 240.0], [100.0, 100.0, 100.0], "speed")
    ratio = one(lib, metric="speed", compare="ratio", at_least=2).tested[0]
    logs = np.log([2.5, 2.6, 2.4])
    half_width = scipy_stats.t.ppf(0.975, 2) * logs.std(ddof=1) / math.sqrt(3)
    assert ratio.estimate == pytest.approx(math.exp(logs.mean()))
    assert (ratio.low, ratio.high) == (
        pytest.approx(math.exp(logs.mean() - half_width)),
        pytest.approx(math.exp(logs.mean() + half_width)),
    )
    saving = one(lib, metric="speed", of=B, against=A, compare="saving", between=(50, 70)).tested[0]
    assert saving.verdict == "reproduced"
    assert saving.estimate == pytest.approx(100 * (1 - 1 / math.exp(logs.mean())))
    assert saving.low < saving.estimate < saving.high  # type: ignore[operator]


@pytest.mark.parametrize(("compare", "of", "against"), [("ratio", A, B), ("saving", A, B), ("saving", B, A)])
@pytest.mark.parametrize("kind", ["counted", None])
def test_a_ratio_beyond_all_numbers_decides_nothing_or_is_judged(
    compare: str, of: Any, against: Any, kind: str | None
) -> None:
    lib = library([1e300, 2e300, 3e300], [1e-300, 1e-300, 1e-300], "speed")
    tested = one(lib, metric="speed", of=of, against=against, compare=compare, at_least=2, kind=kind).tested[0]
    assert tested.verdict in ("undecided", "reproduced")
    assert tested.estimate is None or math.isfinite(tested.estimate)


def test_a_value_by_itself() -> None:
    assert one(TWO_MORE, against=(), between=(71, 73)).verdict == "reproduced"


def test_few_seeds_decide_nothing_but_what_is_counted() -> None:
    two = library([72.0, 72.2], [70.0, 70.1])
    tested = one(two, at_least=0).tested[0]
    assert (tested.verdict, tested.reason) == ("undecided", "n = 2: no interval below 3")
    assert tested.estimate == pytest.approx(2.05)
    counted = library([4.8], [22.0], "params_m")
    assert one(counted, metric="params_m", compare="saving", at_least=70).verdict == "reproduced"
    assert one(counted, metric="params_m", compare="saving", at_least=80).verdict == "contradicted"
    assert one(two, at_least=0, kind="counted").verdict == "reproduced"


def test_equal_differences_are_no_certainty() -> None:
    tested = one(library([72.0, 73.0, 74.0], [70.0, 71.0, 72.0]), at_least=0).tested[0]
    assert (tested.verdict, tested.reason) == ("undecided", "no spread to judge by")


def test_without_common_seeds_unpaired() -> None:
    a, b = [72.0, 72.2, 71.9], [70.0, 70.1, 70.0, 69.0]
    tested = one(library(a, b, shift=10), at_least=0).tested[0]
    low, high = scipy_stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (tested.low, tested.high) == (pytest.approx(low), pytest.approx(high))
    assert welch(a, b).p == pytest.approx(scipy_stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert (tested.verdict, tested.n) == ("reproduced", 3)


def test_not_run_says_why() -> None:
    lib = library([1.0, 2.0, 3.0], [1.0, 1.0, 2.0])
    lib.own.rows["status"] = np.where(lib.own.rows["arm"] == "b", "failed", "done")
    reasons = {
        "no trial of p b has finished": one(lib, at_least=0),
        "no finite top5 in p a": one(lib, metric="top5", against=(), at_least=0),
        "study other has no results": one(lib, of={"study": "other", "arm": "a"}, against=(), at_least=0),
        "no such arm in these results": one(lib, of={"arm": "c"}, against=(), at_least=0),
        "can be decided at scale gpu or imagenet": judge_claim(
            claim({"at_least": 0, "against": ()}, scales=["gpu", "imagenet"]), lib
        ),
    }
    for reason, judged in reasons.items():
        assert (judged.verdict, judged.tested[0].reason) == ("not run", reason)


def test_not_finite_and_not_positive() -> None:
    nan = library([math.nan, math.nan, math.nan], [1.0, 2.0, 3.0])
    assert one(nan, at_least=0).tested[0].reason == "no finite top1 in p a"
    zero = library([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert one(zero, compare="ratio", at_least=1).tested[0].reason == "a ratio of numbers that are not positive"


@pytest.mark.parametrize(
    ("verdicts", "every", "some"),
    [
        (["reproduced", "reproduced"], "reproduced", "reproduced"),
        (["reproduced", "contradicted"], "partly reproduced", "reproduced"),
        (["reproduced", "contradicted", "undecided"], "partly reproduced", "reproduced"),
        (["reproduced", "not run"], "partly reproduced", "reproduced"),
        (["reproduced", "undecided", "not run"], "undecided", "reproduced"),
        (["reproduced", "undecided"], "undecided", "reproduced"),
        (["undecided", "not run"], "undecided", "undecided"),
        (["contradicted", "undecided"], "contradicted", "undecided"),
        (["contradicted", "not run"], "contradicted", "not run"),
        (["contradicted", "contradicted"], "contradicted", "contradicted"),
        (["by construction", "by construction"], "by construction", "by construction"),
        (["by construction", "reproduced"], "reproduced", "reproduced"),
        (["by construction", "contradicted"], "contradicted", "by construction"),
        (["by construction", "not run"], "not run", "by construction"),
        (["not testable", "contradicted"], "contradicted", "contradicted"),
        (["not testable", "not run"], "not run", "not run"),
    ],
)
def test_all_or_any(verdicts: list[Any], every: str, some: str) -> None:
    assert combine_verdicts(verdicts, "all") == every
    assert combine_verdicts(verdicts, "any") == some


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("{metric: top1, of: {part: sret}}", "exactly one of at_least"),
        ("{metric: top1, of: {part: sret}, at_least: 1, at_most: 2}", "exactly one of at_least"),
        ("{metric: top1, of: {part: sret}, about: 1}", "`about` needs a tolerance"),
        ("{metric: top1, of: {part: sret}, between: [2, 1]}", "the lower first"),
        ("{metric: top1, of: {part: sret}, compare: ratio, at_least: 1}", "`compare` needs `against`"),
        ("{metric: topl, of: {part: sret}, at_least: 1}", 'no metric "topl", did you mean "top1"'),
        ("{metric: top1, of: {part: srt}, at_least: 1}", 'conditions[0].of.part: the study has no part "srt"'),
        ("{metric: top1, of: {part: sret}, atleast: 1}", 'unknown key, did you mean "at_least"?'),
    ],
)
def test_faults(condition: str, message: str, tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    spec = tmp_path / "t.yaml"
    spec.write_text(
        f"study: redundancy_ablation\nclaims:\n  - {{name: c, text: t, paper: p, conditions: [{condition}]}}\n"
    )
    with pytest.raises(TableError) as caught:
        build(folder, spec)
    assert message in str(caught.value)


@pytest.mark.parametrize(("scales", "faulty"), [("[gpu]", False), ("[laptop, gpu]", True), ("[]", True)])
def test_a_claim_for_other_scales_may_name_their_levels(scales: str, faulty: bool, tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    spec = tmp_path / "t.yaml"
    condition = "{metric: top1, of: {part: sret, recursion: 77}, at_least: 1}"
    spec.write_text(
        "study: redundancy_ablation\nclaims:\n"
        f"  - {{name: c, text: t, paper: p, scales: {scales}, conditions: [{condition}]}}\n"
    )
    if faulty:
        with pytest.raises(TableError, match='no level "77"'):
            build(folder, spec)
    else:
        build(folder, spec)
        assert "not run" in (folder / "tables" / "claims.md").read_text()


def test_wild_words_and_one_paper(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    spec = tmp_path / "t.yaml"
    spec.write_text(
        "study: redundancy_ablation\nclaims:\n"
        "  - {name: c, text: '50% & <b> _x_ #', paper: 'A & B_c', conditions: "
        "[{metric: top1, of: {part: sret}, at_least: 1}]}\n"
    )
    build(folder, spec)
    assert r"“50% & \<b\> \_x\_ #”" in (folder / "tables" / "claims.md").read_text()
    assert r"``50\% \& \textless{}b\textgreater{} \_x\_ \#''" in (folder / "tables" / "claims.tex").read_text()
    assert "<b>" not in (folder / "tables" / "claims.html").read_text()


def test_claims_of_all_studies_in_one_file(tmp_path: Path) -> None:
    """Claims by study next to the table files; errors have that file's lines; its own claims come first."""
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    spec, claims = tmp_path / "t.yaml", tmp_path / "claims.yaml"
    spec.write_text("study: redundancy_ablation\n")
    claim = "  - {name: c, text: t, paper: p, conditions: [{metric: top1, of: {part: %s}, at_least: 1}]}\n"
    claims.write_text("other: []\nredundancy_ablation:\n" + claim % "srt")
    with pytest.raises(TableError, match=r"claims.yaml:3:\d+ .*no part \"srt\", did you mean \"sret\""):
        build(folder, spec)
    claims.write_text("redundancy_ablation:\n" + claim % "sret")
    build(folder, spec)
    first = (folder / "tables" / "claims.csv").read_text()
    claims.write_text("redundancy_ablation:\n" + claim.replace("at_least: 1", "at_least: 2") % "sret")
    build(folder, spec)
    assert (folder / "tables" / "claims.csv").read_text() != first
    spec.write_text("study: redundancy_ablation\nclaims: []\n")
    build(folder, spec)
    assert not (folder / "tables" / "claims.csv").exists()


def test_every_study_with_claims_is_there() -> None:
    here = Path(__file__).parents[3]
    named = load_yaml(here / "paper_tables" / "claims.yaml").data
    assert named
    assert all((here / place / f"{study}.yaml").is_file() for study in named for place in ("studies", "paper_tables"))
