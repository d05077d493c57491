"""`studies.plan` and its run: what a study would do, and the results of doing it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import growing
import numpy as np
import pytest

import studies

TESTS = Path(__file__).parents[2]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_database: Callable[[Path], Path]) -> Path:
    """The toy study in the current folder, one of whose arms fails."""
    monkeypatch.delenv("DYNVIT_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(TESTS / "toy_task.py", tmp_path)
    text = (TESTS / "toy_study.yaml").read_text()
    text = text.replace("  shape: {key: shape, values: [round, long], baseline: round}", "")
    text = text.replace("resources: {retries: 1}", "resources: {retries: 0}")
    text = text.replace("[lr, shape]", "[lr, fault]").replace(
        "axes:", "axes:\n  fault: {key: fault.kind, values: [none, raise], baseline: none}"
    )
    (tmp_path / "mine.yaml").write_text(text.replace("study: toy_study", "study: mine"))
    mlflow_database(tmp_path / "results")
    return tmp_path / "mine.yaml"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(studies.StudyError) as error:
        call()
    return str(error.value)


def test_settings_from_python(study: Path) -> None:
    settings = {"train.steps": np.int64(5), "train.noise": np.float32(0.5), "side": "café 🙂"}
    plan = studies.plan(study, set=settings, seeds=[0], only=["lr=0.1", "fault=none"])
    (trial,) = plan.plan.selected
    assert (trial.config["train"]["steps"], trial.config["train"]["noise"]) == (5, 0.5)
    assert trial.config["side"] == "café 🙂"
    for wrong in (study, np.zeros(2), object()):
        text = refusal(lambda wrong=wrong: studies.plan(study, set={"side": wrong}))  # type: ignore[misc]
        assert text.startswith(f"set: side is a {type(wrong).__name__}, and settings are numbers"), text


def test_plan_then_run_then_nothing(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = studies.plan(study, seeds=[0], only="lr=0.1")
    assert plan.trials["to_run"].tolist() == [True, True] and set(plan.trials["status"]) == {"planned"}
    assert list(plan.trials["seed"]) == [0, 0] and plan.cost is None and plan.warnings == []
    assert not (study.parent / "results" / "mine").exists()
    assert "= 2 trials of 18" in repr(plan) and "to run" in plan._repr_html_()

    results = plan.run(on="inline")
    said = capsys.readouterr().out
    assert "done      1/2 trials, 1 failed" in said and "raised as configured" in said
    rows = results.frame[results.frame["status"] != "planned"].set_index("axis.fault")
    assert rows.loc["none", "status"] == "done" and rows.loc["none", "metric.score"] < 0
    assert rows.loc["raise", "status"] == "failed"
    assert results.folder == study.parent / "results" / "mine"
    failed = results.trial(rows.loc["raise", "trial"])
    assert failed.metrics == {} and "raised as configured" in failed.log

    again = studies.plan(study, seeds=[0], only=["lr=0.1", "fault=none"])
    assert again.trials["to_run"].sum() <= 1
    done = studies.plan(study, seeds=[0], only="fault=none")
    assert done.trials.loc[done.trials["status"] == "done", "to_run"].tolist() == [False]
    assert done.cost is not None and done.cost.seconds_per_trial > 0


def test_changed_settings_go_to_their_own_folder(study: Path) -> None:
    plan = studies.plan(study, set={"train.steps": 3}, seeds=[0], only="fault=none")
    assert plan.folder.name.startswith("mine@") and plan.folder.parent == study.parent / "results"
    results = plan.run(on="inline")
    done = results.frame[results.frame["status"] == "done"]
    assert len(done) == 3
    assert results.trial(done["trial"].iloc[0]).config["train"]["steps"] == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"set": {"train.step": 3}}, 'did you mean "train.steps"?'),
        ({"only": "lr=0.3"}, "0.3 is not among 0.05, 0.1, 0.2"),
        ({"scale": "gpu"}, "the study has no scales"),
        ({"seeds": [0, 0]}, "0 twice"),
        ({"seeds": 0}, "seeds is a list, as in seeds=[0, 1], not 0"),
        ({"seeds": "0,1"}, "seeds is a list, as in seeds=[0, 1], not '0,1'"),
        ({"rerun": None, "device": "h2000"}, "h2000"),
    ],
)
def test_wrong_options(study: Path, options: dict[str, object], text: str) -> None:
    assert text in refusal(lambda: studies.plan(study, **options))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"on": "inlin"}, 'did you mean "inline"?'),
        ({"on": "inline", "cluster": "mine"}, "cluster is for slurm, not for inline"),
        ({"on": "inline", "address": "auto"}, "address is for Ray, not for inline"),
        ({"on": "inline", "launch": {"partition": "gpu"}}, "partition: no option of inline"),
    ],
)
def test_wrong_options_of_a_run(study: Path, options: dict[str, object], text: str) -> None:
    plan = studies.plan(study, seeds=[0], only="fault=none")
    assert text in refusal(lambda: plan.run(**options))
    assert not (study.parent / "results" / "mine").exists()


def test_a_study_that_is_not_there_or_wrong(study: Path) -> None:
    assert 'did you mean "sret"?' in refusal(lambda: studies.plan("sert"))
    assert 'mine.yml  no such file, did you mean "mine.yaml"?' in refusal(
        lambda: studies.plan(study.with_suffix(".yml"))
    )
    study.write_text(study.read_text().replace("train.steps", "train.stepps"))
    assert "mine.yaml:5:" in refusal(lambda: studies.plan(study))


# ---- until decided


def test_seeds_are_added_until_the_claims_are_decided(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    growing.write(study.parent)
    results = studies.plan("growing.yaml").run(on="inline", until="decided")
    assert "look      3 of 3, n = 8: " in (said := capsys.readouterr().out)
    assert "verdicts  4 decided, 1 futile (hopeless)" in said
    done = results.frame[results.frame["status"] == "done"]
    assert done.groupby(["part", "arm"]).size().to_dict() == growing.SEEDS


@pytest.mark.parametrize(
    ("options", "until", "text"),
    [
        ({}, "decide", "until is \"decided\", or left out, not 'decide'"),
        ({"seeds": [0]}, "decided", "--until decided: leave out --seeds, the looks choose the seeds"),
        ({"smoke": True}, "decided", "leave out --smoke, one seed decides nothing"),
        ({"rerun": "failed"}, "decided", "leave out --rerun, "),
        ({"study": "mine.yaml"}, "decided", "for example `decide: {looks: [3, 5, 8, 12, 20]}`"),
    ],
)
def test_what_cannot_be_decided(study: Path, options: dict[str, object], until: str, text: str) -> None:
    growing.write(study.parent)
    plan = studies.plan(**{"study": "growing.yaml", **options})
    assert text in refusal(lambda: plan.run(on="inline", until=until))
    assert not (study.parent / "results" / "growing").exists()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"rerun": "stael"}, "rerun is one of failed, stale, all, not 'stael', did you mean \"stale\"?"),
        ({"rerun": True}, "rerun is one of failed, stale, all, not True"),
        ({"smoke": "no"}, "smoke is True or False, not 'no'"),
        ({"only": 5}, 'only is text such as "pause=false", or several, not 5'),
        ({"only": ["lr=0.1", None]}, 'only is text such as "pause=false", or several, not None'),
        ({"set": "train.steps=5"}, "set is a mapping, as in set={\"train.epochs\": 5}, not 'train.steps=5'"),
        ({"scale": 5}, "scale is a text, not 5"),
        ({"device": 5}, "device is a text, not 5"),
        ({"results": 5}, "results is a path, not 5"),
        ({"seeds": 0.5}, "seeds is a list, as in seeds=[0, 1], not 0.5"),
    ],
)
def test_an_option_of_another_kind_is_a_sentence(study: Path, wrong: dict[str, Any], text: str) -> None:
    assert refusal(lambda: studies.plan(study, **wrong)) == text
