"""Looks at a study's claims: what is frozen, what asks for seeds, what gives up; the record; rules that change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frame
import yaml
from looked_at import (
    BASE,
    CLEAR,
    DECIDE,
    LATER,
    LOOKS,
    NAN,
    NONE,
    claim,
    history,
    judged,
    only,
    only_of,
    over,
    spec,
    study,
)

from paper_tables import build
from paper_tables.claims.judge import judge_claim
from paper_tables.claims.looks import rule_digests, take_look
from paper_tables.core import sequential
from paper_tables.core.errors import TableError
from paper_tables.data.load import load_frame, tidy_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file


def test_look_by_look(tmp_path: Path) -> None:
    """What is clear is frozen at the first look; the next one asks for the others' arms alone."""
    file = spec(tmp_path, claim("clear"), claim("later"))
    arms = {"base": BASE, "clear": over(CLEAR), "later": over(LATER)}
    folder = study(tmp_path, {arm: values[:3] for arm, values in arms.items()})
    first = take_look(folder, file, 3)
    assert (first.decided, first.undecided, first.futile) == (("clear",), ("later",), ())
    assert set(first.arms) == {("p", "base"), ("p", "later")}
    study(tmp_path, {**arms, "clear": over(CLEAR)[:3]})
    second = take_look(folder, file, 5)
    assert (second.decided, second.undecided, second.arms) == (("clear", "later"), (), ())
    looks = [(d["claim"], d["condition"], d["look"], d["n"], d["verdict"]) for d in history(folder)]
    assert looks == [
        ("clear", 0, 1, 3, "reproduced"),
        ("later", 0, 1, 3, "undecided"),
        ("later", 0, 2, 5, "reproduced"),
    ]
    level = sequential.nominal_error(LOOKS)
    gains = np.array(LATER[:5])
    half = sequential.half_width(5, gains.std(ddof=1), level)
    last = history(folder)[-1]
    assert (last["level"], last["rule"]) == (level, rule_digests(file, DECIDE)["later"])
    assert (last["low"], last["high"]) == (pytest.approx(gains.mean() - half), pytest.approx(gains.mean() + half))
    assert last["trials"] == [*(f"later{i}" for i in range(5)), *(f"base{i}" for i in range(5))]


def test_a_look_counts_only_its_own_seeds(tmp_path: Path) -> None:
    """Arms that have more seeds already give the same record as those that grew look by look."""
    file = spec(tmp_path, claim("later"))
    whole = study(tmp_path / "whole", {"base": BASE, "later": over(LATER)})
    grown = tmp_path / "grown" / "s"
    for n in (3, 5):
        study(tmp_path / "grown", {"base": BASE[:n], "later": over(LATER)[:n]})
        take_look(grown, file, n)
        take_look(whole, file, n)
    assert (grown / "decisions.json").read_bytes() == (whole / "decisions.json").read_bytes()


def test_a_verdict_stands(tmp_path: Path) -> None:
    """Later seeds that say otherwise change neither the verdict nor its numbers; the same look is not taken again."""
    file = spec(tmp_path, claim("clear"), claim("later"))
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3], "later": over(LATER)[:3]})
    take_look(folder, file, 3)
    before = (folder / "decisions.json").read_bytes()
    then = judged(folder, file)["clear"].tested[0]
    again = take_look(folder, file, 3)
    assert (again.decided, again.undecided) == (("clear",), ("later",))
    assert (folder / "decisions.json").read_bytes() == before
    study(tmp_path, {"base": BASE, "clear": over([*CLEAR[:3], -20, -20, -21, -22, -20]), "later": over(LATER)})
    now = judged(folder, file)["clear"].tested[0]
    for name in ("verdict", "estimate", "low", "high", "n", "look", "trials"):
        assert getattr(now, name) == getattr(then, name)
    assert (now.look, now.n) == ("1 of 3", 3)


def test_a_verdict_on_other_numbers_does_not_stand(tmp_path: Path) -> None:
    """After a rerun the look is taken again, and the record keeps both."""
    file = spec(tmp_path, claim("clear"), claim("later"))
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3], "later": over(LATER)[:3]})
    take_look(folder, file, 3)
    before = history(folder)
    study(tmp_path, {"base": BASE[:3], "clear": over([-9, -8, -9]), "later": over(CLEAR)[:3]})
    tested = judged(folder, file)["clear"].tested[0]
    gone = "decided before on other trials (look 1 of 3, n = 3: reproduced); judged again"
    assert (tested.verdict, tested.kept, tested.remarks) == ("contradicted", None, (gone,))
    assert take_look(folder, file, 3).decided == ("clear", "later")
    assert history(folder)[:2] == before
    assert [d["verdict"] for d in history(folder)] == ["reproduced", "undecided", "contradicted", "reproduced"]
    stands = judged(folder, file)["clear"].tested[0]
    assert (stands.verdict, stands.look, stands.kept) == ("contradicted", "1 of 3", stands.trials)
    again = history(folder)
    assert take_look(folder, file, 3).decided == ("clear", "later")
    assert history(folder) == again


def test_a_verdict_of_trials_with_other_settings_does_not_stand(tmp_path: Path) -> None:
    """The ids of trials are hashes of their settings: the same numbers under other ids are other trials."""
    file = spec(tmp_path, claim("clear"))
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]})
    take_look(folder, file, 3)
    rows = load_frame(folder).rows
    rows["trial"] = "edited-" + rows["trial"]
    synthetic_frame.write(folder, rows, meta={"study": "s", "scale": "laptop", "decide": DECIDE})
    assert only(folder, file).remarks[0].startswith("decided before on other trials (look 1 of 3")
    assert take_look(folder, file, 3).decided == ("clear",)
    assert [d["trials"][0] for d in history(folder)] == ["clear0", "edited-clear0"]


def test_looks_begin_anew_beside_a_verdict_of_a_later_one(tmp_path: Path) -> None:
    """`--until decided` goes through all looks again: a verdict on five seeds stands at the look at three."""
    file = spec(tmp_path, claim("later"))
    folder = study(tmp_path, {"base": BASE[:5], "later": over(LATER)[:5]})
    assert take_look(folder, file, 5).decided == ("later",)
    assert take_look(folder, file, 3).decided == ("later",)
    assert [d["look"] for d in history(folder)] == [2]


def test_without_a_record_the_present_numbers_speak(tmp_path: Path) -> None:
    """The control of the test above: the same later frame without decisions.json is contradicted."""
    file = spec(tmp_path, claim("clear"))
    folder = study(tmp_path, {"base": BASE, "clear": over([-20, -20.5, -21, -20, -20, -21, -22, -20])})
    assert judged(folder, file)["clear"].verdict == "contradicted"


def test_futile(tmp_path: Path) -> None:
    """It asks for no seeds, is judged again where its arms got some, and can still be decided."""
    file = spec(tmp_path, claim("none"), claim("later"))
    few = {"base": BASE[:5], "none": over(NONE)[:5], "later": over(LATER)[:5]}
    folder = study(tmp_path, few, {"looks": [5, 6, 8]})
    first = take_look(folder, file, 5)
    assert first.futile == ("none",)
    assert ("p", "none") not in first.arms
    assert "seeds would decide" in first.lines[0]
    study(tmp_path, {**few, "base": BASE, "later": over(LATER)}, {"looks": [5, 6, 8]})
    sixth = take_look(folder, file, 6)
    assert sixth.futile == ("none",)
    assert sixth.lines[0].endswith("none: no seeds were added after look 1 of 3")
    assert [d["look"] for d in history(folder) if d["claim"] == "none"] == [1]  # not judged without its seeds
    study(tmp_path, {**few, "base": BASE, "none": over([3.0, 3.1, 3.0, 2.9, 3, 3, 3.1, 3])}, {"looks": [5, 6, 8]})
    assert "none" in take_look(folder, file, 8).decided


def test_trials_that_are_still_running(tmp_path: Path) -> None:
    file = spec(tmp_path, claim("clear"))
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:2]}, planned=1)
    report = take_look(folder, file, 3)
    assert (report.undecided, report.decided) == (("clear",), ())
    assert set(report.arms) == {("p", "base"), ("p", "clear")}
    assert not (folder / "decisions.json").exists()


def test_too_many_lost(tmp_path: Path) -> None:
    """Two of five: no verdict, but the next look may bring them below a fifth; three of eight at most: never."""
    file = spec(tmp_path, claim("clear"))
    one = [*over(CLEAR)[:4], NAN]
    folder = study(tmp_path, {"base": BASE[:5], "clear": one}, {"looks": [5, 8]})
    assert take_look(folder, file, 5).decided == ("clear",)
    two = [NAN, over(CLEAR)[1], NAN, *over(CLEAR)[3:5]]
    folder = study(tmp_path / "two", {"base": BASE[:5], "clear": two}, {"looks": [5, 10]})
    report = take_look(folder, file, 5)
    assert (report.undecided, report.arms[0]) == (("clear",), ("p", "clear"))
    assert only(folder, file).reason == "2 of 5 trials of p clear failed or diverged"
    assert only(folder, file).verdict == "undecided"
    folder = study(tmp_path / "gone", {"base": BASE[:5], "clear": two}, {"looks": [5, 8]})
    report = take_look(folder, file, 5)
    assert (report.lost, report.arms, history(folder)[0]["verdict"]) == (("clear",), (), "lost")


def test_a_condition_is_open_while_its_control_is(tmp_path: Path) -> None:
    """Both get seeds; the verdict stands when the control has failed, and nothing is futile before the last look."""
    control = {"label": "untrained", "of": {"arm": "untrained"}}
    file = spec(tmp_path, claim("clear", controls=[control]))
    arms = {"base": BASE, "clear": over(CLEAR), "untrained": over([-9, 9, 3, -5, -5, -5, -5, -5])}
    folder = study(tmp_path, {arm: values[:3] for arm, values in arms.items()})
    report = take_look(folder, file, 3)
    assert (report.decided, report.undecided) == ((), ("clear",))
    assert set(report.arms) == {("p", "clear"), ("p", "base"), ("p", "untrained")}
    assert report.lines[0].endswith("its control is undecided")
    assert only(folder, file).controls[0].as_control == "undecided"
    study(tmp_path, arms)
    assert take_look(folder, file, 5).undecided == ("clear",)
    assert take_look(folder, file, 8).decided == ("clear",)  # better than the control, whose interval has the bound
    assert [d["verdict"] for d in history(folder)] == ["undecided", "undecided", "reproduced"]


def test_a_control_that_failed_once_is_waited_for(tmp_path: Path) -> None:
    """As is an arm that is compared: two of three seeds are too few, and more may come."""
    file = spec(tmp_path, claim("clear", controls=[{"label": "noise", "of": {"arm": "noise"}}]))
    arms = {"base": BASE, "clear": over(CLEAR), "noise": [NAN, *over([-5, -5.1, -5.2, -5, -5, -5.1, -5, -4.9])[1:]]}
    folder = study(tmp_path, {arm: values[:3] for arm, values in arms.items()})
    report = take_look(folder, file, 3)
    assert (report.futile, report.undecided) == ((), ("clear",)) and ("p", "noise") in report.arms
    assert "1 of 3 trials of its control failed" in report.lines[0]
    study(tmp_path, {arm: values[:5] for arm, values in arms.items()})
    assert take_look(folder, file, 5).decided == ("clear",)


def test_a_control_that_passes_ends_the_looks_and_takes_a_verdict_back(tmp_path: Path) -> None:
    control = {"label": "untrained", "of": {"arm": "untrained"}}
    file = spec(tmp_path, claim("later", controls=[control]), claim("clear", controls=[control]))
    arms = {"base": BASE, "clear": over(CLEAR), "later": over(LATER), "untrained": over([-5, -5.1, -5.2])}
    folder = study(tmp_path, {arm: values[:3] for arm, values in arms.items()})
    assert take_look(folder, file, 3).decided == ("clear",)
    study(tmp_path, {**arms, "untrained": over([-5, -5.1, -5.2, 20, -5, 20, -5, 20])})
    assert only_of(folder, file, "clear").verdict == "reproduced"  # undecided now, but it had failed
    passing = study(tmp_path / "passing", {**arms, "untrained": over(CLEAR)})
    assert take_look(passing, file, 5).futile == ("later", "clear")  # no number of seeds helps
    assert only_of(passing, file, "clear").verdict == "not testable"
    (folder / "decisions.json").rename(passing / "decisions.json")
    tested = only_of(passing, file, "clear")
    assert (tested.verdict, tested.reason, tested.look) == ("not testable", "its control passes", "1 of 3")


@pytest.mark.parametrize("kind", ["measured", "counted"])
def test_a_saving_waits_for_its_accuracy(kind: str, tmp_path: Path) -> None:
    """Also one that is counted, which a single trial would decide: the verdict is one over seeds, and stands."""
    rule = {"metric": "speed", "compare": "ratio", "at_least": 1.5, "keeps": 1, "kind": kind}
    file = spec(tmp_path, claim("fast", **rule))
    folder = study(tmp_path, {"base": BASE[:5], "fast": over([0.3, -0.5, 0.1, 0.0, 0.1])})
    rows = load_frame(folder).rows
    rows["metric.speed"] = [100 + 100 * (arm == "fast") + seed for arm, seed in rows[["arm", "seed"]].to_numpy()]
    synthetic_frame.write(folder, rows, meta={"study": "s", "scale": "laptop", "decide": DECIDE})
    first = take_look(folder, file, 3)
    assert (first.undecided, set(first.arms)) == (("fast",), {("p", "fast"), ("p", "base")})
    assert take_look(folder, file, 5).decided == ("fast",)
    tested = only(folder, file)
    assert (tested.verdict, tested.look, tested.kept is not None) == ("reproduced", "2 of 3", True)


def test_a_changed_rule_is_a_new_one(tmp_path: Path) -> None:
    file = spec(tmp_path, claim("clear"))
    first = rule_digests(file, DECIDE)
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]}, {**DECIDE, "rules": first})
    take_look(folder, file, 3)
    assert only(folder, file).remarks == ()
    spec(tmp_path, claim("clear", at_least=100))
    second = rule_digests(file, DECIDE)
    changed = {"clear": {"digest": second["clear"], "n": 3}}
    study(tmp_path, {"base": BASE[:5], "clear": over(CLEAR)[:5]}, {**DECIDE, "rules": first, "changed": changed})
    tested = only(folder, file)
    assert (tested.verdict, tested.remarks) == ("contradicted", ("rule changed after n = 3",))
    study(tmp_path, {"base": BASE[:5], "clear": over(CLEAR)[:5]}, {**DECIDE, "rules": first})
    assert only(folder, file).remarks == ("rule changed after n = 5",)
    spec(tmp_path, claim("clear", name="renamed", at_least=4))
    assert only(folder, file).remarks == ("rule written after n = 5",)


def test_digests_are_of_the_rule_alone(tmp_path: Path) -> None:
    control = {"label": "noise", "of": {"arm": "noise"}}
    plain = claim("clear", controls=[control])
    first = rule_digests(spec(tmp_path, plain), DECIDE)["clear"]
    assert len(first) == 12
    said = {**claim("clear", label="L", reason="R", digits=2, controls=[control]), "note": "N", "where": "W"}
    assert rule_digests(spec(tmp_path, said), {**DECIDE, "max_hours": 3})["clear"] == first
    others = [
        rule_digests(spec(tmp_path, claim("clear", **change)), decide)["clear"]
        for change, decide in [
            ({"controls": [control], "at_least": 0.1}, DECIDE),
            ({"controls": [control], "tolerance": 0.1}, DECIDE),
            ({"controls": [control], "keeps": 1}, DECIDE),
            ({"controls": [control], "may_only": "reproduced", "may_only_reason": "W"}, DECIDE),
            ({"controls": [{**control, "of": {"arm": "base"}}]}, DECIDE),
            ({"controls": [control], "of": {"arm": "later"}}, DECIDE),
            ({"controls": [control]}, {**DECIDE, "error": 0.04}),
            ({"controls": [control]}, {**DECIDE, "looks": [3, 5, 9]}),
        ]
    ]
    assert len({first, *others}) == 9
    counted = {**claim("base"), "conditions": [{"metric": "params_m", "of": {"arm": "base"}, "at_least": 1}]}
    assert rule_digests(spec(tmp_path, counted), DECIDE) == {}
    assert rule_digests(None, DECIDE) == {}


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    file = spec(tmp_path, claim("clear"))
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]})
    (folder / "decisions.json").write_text('{"version": 1, "history": [{"claim": "clear"}]}')
    with pytest.raises(TableError, match=r"decisions.json  is damaged: restore it, or remove it"):
        take_look(folder, file, 3)


def test_a_new_decision_renders_the_tables_again(tmp_path: Path) -> None:
    file = spec(tmp_path, claim("clear"))
    folder = study(tmp_path, {"base": BASE[:3], "clear": over(CLEAR)[:3]})
    build(folder, file)
    assert build(folder, file).unchanged
    take_look(folder, file, 3)
    assert not build(folder, file).unchanged


def test_claims_of_one_name_about_another_study(tmp_path: Path) -> None:
    """Each has its own record in the folder of the study with the arms, and each table reads its own."""
    file = spec(tmp_path, claim("clear", "faster"))
    about_s = {"of": {"study": "s", "arm": "clear"}, "against": {"study": "s", "arm": "base"}}
    others = {}
    for study_name, bound in (("one", 1), ("two", 100)):
        others[study_name] = tmp_path / f"{study_name}.yaml"
        its = claim("clear", "faster", at_least=bound, **about_s)
        others[study_name].write_text(yaml.safe_dump({"study": study_name, "claims": [its]}))
    arms = {"base": BASE[:3], "clear": over(CLEAR)[:3]}
    rules = rule_digests(file, DECIDE)
    assert list(rules) == ["faster", "one.faster", "two.faster"]
    assert len({*rules.values()}) == 3
    folder = study(tmp_path, arms, {**DECIDE, "rules": rules})
    assert take_look(folder, file, 3).decided == ("faster", "one.faster", "two.faster")
    assert [d["verdict"] for d in history(folder)] == ["reproduced", "reproduced", "contradicted"]
    study(tmp_path, {"base": BASE, "clear": over([*CLEAR[:3], -9, -9, -9, -9, -9])}, {**DECIDE, "rules": rules})
    for study_name, verdict in (("one", "reproduced"), ("two", "contradicted")):
        frame = tidy_frame(pd.DataFrame(), pd.DataFrame(), {"study": study_name, "scale": "laptop"})
        (its_claim,) = read_table_file(others[study_name])[0].claims
        tested = judge_claim(its_claim, StudyFrames(tmp_path / study_name, frame)).tested[0]
        assert (tested.verdict, tested.look, tested.remarks) == (verdict, "1 of 3", ())
