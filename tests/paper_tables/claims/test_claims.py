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
from paper_tables.claims.cells import controls, expected
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
    lib.own.rows["status"] = np.where(lib.own.rows["arm"] == "b", "running", "done")
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
        (["not testable", "contradicted"], "contradicted", "not testable"),
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
        ("{metric: top1, of: {part: sret}, non_inferior: 1}", "`non_inferior` needs `against`"),
        ("{metric: top1, of: {part: sret}, at_least: 1, keeps: 1}", "`keeps` needs `against`"),
        ("{metric: top1, of: {part: sret}, at_least: 1, may_only: reproduced}", "`may_only_reason` belong together"),
        ("{of: {part: sret}, at_least: 1}", "needs a metric"),
        ("{shown_by: tests/a.py::b}", "`shown_by` needs a label"),
        ("{shown_by: tests/a.py::b, label: l, at_least: 1}", "takes no metric, arms or bound"),
        ("{metric: top1, of: {part: sret}, at_least: 1, controls: [{label: l}]}", "either `of` or `shown_by`"),
        (
            "{metric: top1, of: {part: sret}, at_least: 1, controls: [{label: l, of: {part: srt}}]}",
            "controls[0].of.part",
        ),
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


def arms_of(**arms: list[float]) -> StudyFrames:
    """Arms by name, seeds from 0."""
    rows = [
        {"study": "s", "part": "p", "trial": f"{arm}{seed}", "arm": arm, "baseline": arm == "b", "seed": seed,
         "status": "done", "metric.top1": value}
        for arm, values in arms.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    frame = tidy_frame(pd.DataFrame(rows), pd.DataFrame(), {"study": "s", "scale": "laptop"})
    return StudyFrames(Path("nowhere/s"), frame)


@pytest.mark.parametrize(
    ("control", "verdict", "reason", "passes"),
    [
        ([70.0, 70.3, 69.9], "reproduced", "", False),
        ([72.3, 71.9, 72.1], "not testable", "its control passes", True),
        ([71.0, 71.0, 75.0], "undecided", "its control is undecided", None),  # its interval crosses the bound
        ([70.9, 71.15, 70.85], "reproduced", "", False),  # so does this one, but the condition is better by 1.05
        ([72.0, 72.1, 72.0], "not testable", "its control passes", True),  # 2 in every seed: no spread, and inside
        ([70.0, 70.1, 70.0], "reproduced", "", False),  # 0 in every seed
        ([70.0, 70.1], "undecided", "its control was not run", None),
    ],
)
def test_a_rule_that_its_control_passes_is_no_rule(
    control: list[float], verdict: str, reason: str, passes: bool | None
) -> None:
    lib = arms_of(a=[72.0, 72.2, 71.9], b=[70.0, 70.1, 70.0], c=control)
    controls = [{"label": "noise", "of": {"arm": "c"}}]
    tested = one(lib, at_least=1, controls=controls).tested[0]
    assert (tested.verdict, tested.reason) == (verdict, reason)
    assert [c.passes for c in tested.controls] == [passes]
    built = judge_claim(claim({"at_least": 1, "controls": controls}, by_construction="it was built so"), lib)
    assert (built.verdict, len(built.tested[0].controls)) == ("by construction", 1)
    failing = one(lib, at_least=4, controls=controls).tested[0]
    assert (failing.verdict, len(failing.controls)) == ("contradicted", 1)


@pytest.mark.parametrize(
    ("baseline", "verdict"), [([94.1, 94.2, 93.9], "not testable"), ([92.1, 93.6, 94.0], "undecided")]
)
def test_no_gain_is_testable_at_the_ceiling(baseline: list[float], verdict: str) -> None:
    """Two points need six of room: a baseline above 94 has less."""
    tested = one(arms_of(a=[95.0, 95.2, 94.8], b=baseline), about=2, tolerance=1, gain=2).tested[0]
    assert tested.verdict == verdict
    assert ("leaves" in tested.reason) == (verdict == "not testable")


@pytest.mark.parametrize(
    ("costs", "rule", "verdict"),
    [
        ((1.0, 1.0), {"at_least": 1}, "reproduced"),
        ((2.0, 1.0), {"at_least": 1}, "not testable"),  # a win of the costlier arm
        ((1.0, 2.0), {"at_least": 1}, "reproduced"),
        ((2.0, 1.0), {"at_least": 4}, "contradicted"),
        ((1.0, 2.0), {"at_least": 4}, "not testable"),  # a loss of the cheaper one
    ],
)
def test_a_win_at_more_compute_and_a_loss_at_less_decide_nothing(
    costs: tuple[float, float], rule: dict[str, float], verdict: str
) -> None:
    lib = library([72.0, 72.2, 71.9], [70.0, 70.1, 70.0])
    lib.own.rows["metric.gflops"] = [costs[0]] * 3 + [costs[1]] * 3
    tested = one(lib, comparable=1.1, **rule).tested[0]
    assert tested.verdict == verdict
    assert ("times the MACs" in tested.reason) == (verdict == "not testable")


FASTER = {"metric": "speed", "compare": "ratio", "at_least": 1.5, "keeps": 1}


@pytest.mark.parametrize(
    ("top1", "verdict", "reason"),
    [
        ([70.1, 70.0, 69.9], "reproduced", ""),
        ([66.7, 67.0, 66.8], "not testable", "its top-1 is lower by 3.2 points"),
        ([69.0, 69.5, 68.0], "undecided", "whether top-1 is kept is undecided"),
        ([math.nan] * 3, "undecided", "top-1 was not measured"),
    ],
)
def test_a_speed_at_a_lost_accuracy_decides_nothing(top1: list[float], verdict: str, reason: str) -> None:
    lib = library([250.0, 260.0, 240.0], [100.0, 100.0, 100.0], "speed")
    lib.own.rows["metric.top1"] = [*top1, 70.0, 70.1, 70.0]
    tested = one(lib, **FASTER).tested[0]
    assert (tested.verdict, tested.reason) == (verdict, reason)
    assert expected(tested.condition) == "≥ 1.5, top-1 at most 1 below"
    slower = one(lib, **{**FASTER, "at_least": 9}).tested[0]
    assert (slower.verdict, slower.reason) == ("contradicted", "")
    counted = one(lib, **FASTER, kind="counted").tested[0]  # one trial says how much it saves, not what it costs
    assert (counted.verdict, counted.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("may_only", "bound", "verdict"),
    [
        ("reproduced", 1.5, "reproduced"),
        ("reproduced", 9, "not testable"),
        ("contradicted", 1.5, "not testable"),
        ("contradicted", 9, "contradicted"),
        ("contradicted", 2, "undecided"),
    ],
)
def test_a_condition_with_one_verdict_only(may_only: str, bound: float, verdict: str) -> None:
    tested = one(TWO_MORE, at_least=bound, may_only=may_only, may_only_reason="our choice").tested[0]
    assert (tested.verdict, tested.reason == "our choice") == (verdict, verdict == "not testable")


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        ({"non_inferior": 0.5}, "reproduced"),
        ({"equivalent": 0.5}, "contradicted"),
        ({"equivalent": 3}, "reproduced"),
        ({"non_inferior": 0.5, "of": B, "against": A}, "contradicted"),
    ],
)
def test_margins(rule: dict[str, Any], verdict: str) -> None:
    assert one(TWO_MORE, **rule).verdict == verdict


def test_another_metric_of_the_same_arm() -> None:
    lib = library([72.0, 72.2, 71.9], [70.0, 70.1, 70.0])
    lib.own.rows["metric.chance"] = lib.own.rows["metric.top1"] - [1.0, 1.1, 0.9, 0, 0, 0]
    tested = one(lib, against=A, against_metric="chance", at_least=0.5).tested[0]
    assert (tested.verdict, tested.estimate) == ("reproduced", pytest.approx(1.0))


def test_what_a_test_shows_and_what_cannot_be_tested() -> None:
    shown = {"shown_by": "tests/a.py::b", "label": "keeps all tokens", "kind": "structural"}
    control = {"label": "EViT, which removes some", "shown_by": "tests/a.py::c"}
    judged = judge_claim(Claim(name="c", text="t", paper="p", conditions=[{**shown, "controls": [control]}]), TWO_MORE)
    assert (judged.verdict, judged.tested[0].controls[0].passes) == ("reproduced", False)
    novel = Claim(name="c", text="for the first time", paper="p", kind="not testable", not_testable="a novelty")
    assert judge_claim(novel, TWO_MORE).verdict == "not testable"
    with pytest.raises(ValueError, match="needs conditions, or says why"):
        Claim(name="c", text="t", paper="p")


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


@pytest.mark.parametrize(
    ("control", "fault"),
    [
        ("{part: sret, control: untrained}", ""),  # added to the study after these results
        ("{study: redundancy_ablation, part: sret, recursion: 77}", ""),
        ("{part: srt}", 'no part "srt", did you mean "sret"'),
        ("{part: sret, recursions: 1}", 'no axis "recursions", did you mean "recursion"'),
    ],
)
def test_a_control_may_be_newer_than_the_results_and_not_misspelt(control: str, fault: str, tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    spec = tmp_path / "t.yaml"
    spec.write_text(
        "study: redundancy_ablation\nclaims:\n  - {name: c, text: t, paper: p, conditions: "
        f"[{{metric: top1, of: {{part: sret}}, at_least: 1, controls: [{{label: l, of: {control}}}]}}]}}\n"
    )
    if fault:
        with pytest.raises(TableError, match=fault):
            build(folder, spec)
    else:
        build(folder, spec)
        assert "l: not run" in (folder / "tables" / "claim_tests.md").read_text()


def test_results_of_before_a_level_was_added_to_a_claim_are_rendered(tmp_path: Path) -> None:
    """The package's own claims name what its studies have now; slips in them are found against these."""
    trials, curves = synthetic_frame.frames()
    about = synthetic_frame.about()
    (smoothing,) = (axis for part in about["parts"] for axis in part["axes"] if axis["name"] == "smoothing")
    smoothing["levels"].remove("none")
    older = trials[trials["axis.smoothing"] != "none"]
    folder = synthetic_frame.write(tmp_path / "redundancy_ablation", older, curves, about)
    build(folder)
    rows = (folder / "tables" / "claim_tests.md").read_text().splitlines()
    assert next(row for row in rows if "smoothing none" in row).startswith("| not run")


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
    first = (folder / "tables" / "claim_tests.csv").read_text()
    claims.write_text("redundancy_ablation:\n" + claim.replace("at_least: 1", "at_least: 2") % "sret")
    build(folder, spec)
    assert (folder / "tables" / "claim_tests.csv").read_text() != first
    spec.write_text("study: redundancy_ablation\nclaims: []\n")
    build(folder, spec)
    assert not (folder / "tables" / "claims.csv").exists()


def test_a_control_that_guesses_as_its_counterpart_does_is_not_better() -> None:
    lib = arms_of(a=[72.0, 72.2, 71.9], b=[70.0, 70.1, 70.0], c=[10.0, 10.0, 10.0])
    guess = {"label": "untrained", "of": {"arm": "c"}, "against": {"arm": "c"}}
    tested = one(lib, at_least=0, controls=[guess]).tested[0]
    assert (tested.verdict, tested.controls[0].passes) == ("reproduced", False)


def test_every_study_with_claims_is_there() -> None:
    here = Path(__file__).parents[3]
    named = load_yaml(here / "paper_tables" / "claims.yaml").data
    assert named
    assert all((here / place / f"{study}.yaml").is_file() for study in named for place in ("studies", "paper_tables"))


@pytest.mark.parametrize(
    ("control", "word"),
    [
        ([73.0, 73.2, 72.9], "passes"),
        ([66.0, 66.2, 65.9], "fails"),
        ([60.0, 82.0, 71.0], "undecided"),
    ],
)
def test_a_control_that_crosses_the_bound_does_not_count_as_failing_in_print(control: list[float], word: str) -> None:
    lib = library(control, [70.0, 70.1, 70.0])
    tested = one(lib, at_least=1, controls=[{"label": "itself", "of": A, "against": B}]).tested[0]
    assert controls(tested).split()[-1] == word
