"""`studies.open`: the results that a name or a path means, their trials, and sentences for what is not there."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study
import pytest

import studies
from studies.engine.api.results import Results
from studies.engine.results.bundle.export import export
from studies.engine.results.collect import collect
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store

EXAMPLE = Path(__file__).parents[3] / "results" / "example"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A finished study `toy` in ``results`` of the current folder."""
    monkeypatch.delenv("DYNVIT_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "results")
    made_study.run_all(store, made_study.make_plan())
    return store


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(studies.StudyError) as error:
        call()
    return str(error.value)


def test_importing_is_light() -> None:
    heavy = (
        "import studies, sys; print([m for m in ('pandas', 'torch', 'click', 'pydantic', 'yaml') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout == "[]\n"


def test_by_name_path_and_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = studies.open("toy")
    numbers = named.frame["metric.top1"].tolist()
    folder = store.study("toy")
    for wanted in (folder, str(folder), folder / "trials.parquet", "results/toy/trials.csv"):
        assert studies.open(wanted).frame["metric.top1"].tolist() == numbers
    assert studies.open("toy.yaml").folder == Path("results/toy")  # the study file is gone
    monkeypatch.chdir("/")
    assert studies.open("toy", results=store.root).frame["metric.top1"].tolist() == numbers
    monkeypatch.setenv("DYNVIT_RESULTS", str(store.root))
    assert studies.open("toy").folder == store.study("toy")


def test_a_path_has_its_own_scale(store: Store) -> None:
    """Numbers of one scale are not handed to whoever asked for those of another."""
    studies.open("toy")
    for path in (store.study("toy"), store.study("toy") / "trials.parquet"):
        text = refusal(lambda path=path: studies.open(path, scale="gpu"))  # type: ignore[misc]
        assert text == f"{path} is one run of a study: leave out scale='gpu', or open the study by its name"
    assert refusal(lambda: studies.open("toy", scale="gpu")) == "no results toy at scale gpu in results; there is toy"


def test_what_trials_left_since_is_there(store: Store) -> None:
    plan = read_plan(store.study("toy"))
    first = store.trial(plan.trials[0].folder)
    first.result_file.unlink()
    before = studies.open("toy").frame
    assert (before["status"] == "done").sum() == len(plan.trials) - 1
    made_study.finish(first, made_study.START + 9, top1=42.0)
    assert 42.0 in studies.open("toy").frame["metric.top1"].tolist()


def test_the_labels_of_a_study(store: Store) -> None:
    made_study.run_all(store, made_study.make_plan(label="gpu"))
    assert studies.open("toy@gpu").folder.name == studies.open("toy", scale="gpu").folder.name == "toy@gpu"
    assert studies.open("toy", scale="laptop").folder.name == "toy"  # the default scale's folder leaves it out
    assert "leave out scale" in refusal(lambda: studies.open("toy@gpu", scale="gpu"))


def test_an_export(store: Store, tmp_path: Path) -> None:
    plan = read_plan(store.study("toy"))
    collect(store, plan.folder)
    tables = tmp_path / "paper_tables"
    tables.mkdir()
    table = {"name": "mine", "columns": [{"metric": "top1"}]}
    (tables / "toy.yaml").write_text(json.dumps({"study": "toy", "tables": [table]}))
    condition = {"metric": "top1", "of": {"recursion": "3"}, "against": {"part": "sret"}, "at_least": 0}
    claim = {"name": "more", "text": "More is better.", "paper": "p", "conditions": [condition]}
    (tables / "claims.yaml").write_text(json.dumps({"toy": [claim]}))
    export(store, plan, tmp_path / "toy.zip", tables / "toy.yaml")
    ours, theirs = studies.open("toy"), studies.open(tmp_path / "toy.zip")
    assert theirs.tables == ["mine"] and theirs.table().latex == ours.table().latex
    assert theirs.claims().data.equals(ours.claims().data) and len(ours.claims()) == 1
    trial = theirs.trial(plan.trials[0].folder)
    assert trial.config == ours.trial(plan.trials[0].folder).config and trial.environment["host"] == "here"
    alone = studies.open(tmp_path / "toy.zip").trial(trial.id)  # the results themselves are not kept
    gc.collect()
    assert alone.config == trial.config and alone.result == trial.result
    (tmp_path / "toy.zip").write_bytes((tmp_path / "toy.zip").read_bytes()[:-200])
    assert "toy.zip" in refusal(lambda: studies.open(tmp_path / "toy.zip"))


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("toi", 'no study and no results "toi" in results, did you mean "toy"?'),
        ("redundancy_ablatoin", 'did you mean "redundancy_ablation"?'),
        ("sret", "sret has no results in results; `python -m studies run sret` makes them"),
        ("toy@smoke", "no results toy@smoke in results; there is toy"),
        ("results", "open one of the studies in it: toy"),
        ("here.txt", "here.txt is neither a study, nor trials.parquet, nor the zip of an export"),
        ("mine.yaml", "mine.yaml has no results in results; `python -m studies run mine.yaml` makes them"),
        ("toyy.yaml", 'toyy.yaml: no such file, and no results of that name in results, did you mean "toy"?'),
        ("no/such/place", 'no study and no results "no/such/place"'),
    ],
)
def test_what_is_not_there(store: Store, wanted: str, text: str) -> None:
    Path("here.txt").write_text("")
    Path("mine.yaml").write_text("")
    assert text in refusal(lambda: studies.open(wanted))


def test_a_damaged_frame_and_plan(store: Store) -> None:
    folder = studies.open("toy").folder
    (folder / "trials.parquet").write_bytes(b"PAR1 not")
    (folder / "plan.json").unlink()
    assert "cannot be read as a frame" in refusal(lambda: studies.open("toy"))
    (folder / "plan.json").write_text("{")
    assert "plan.json is damaged" in refusal(lambda: studies.open("toy"))


def test_a_trial(store: Store) -> None:
    results = studies.open("toy")
    planned = read_plan(store.study("toy")).trials[3]
    trial = results.trial(planned.folder)
    assert (trial.part, trial.arm, trial.seed, trial.status) == (planned.part, planned.arm, planned.seed, "done")
    assert trial.metrics == {"top1": pytest.approx(80.3), "loss": pytest.approx(3 + 0.5 / 3), "gflops": 0.25}
    assert trial.curves.loc[3, "train.loss"] == pytest.approx(1 / 3)
    assert trial.config["lr"] == 0.1 and trial.log == "attempt 1\n"
    assert trial.result["cost"]["params"] == 1234 and trial.environment["packages"] == {"torch": "2.15.0"}
    assert planned.arm in repr(trial) and "lr" in trial._repr_html_()


def test_trials_that_are_not_there(store: Store) -> None:
    results = studies.open("toy")
    assert "000 matches 18 trials: " in refusal(lambda: results.trial("000"))
    assert "zz is no trial of these results" in refusal(lambda: results.trial("zz"))
    assert "an empty id matches" in refusal(lambda: results.trial(""))
    example = studies.open(EXAMPLE / "redundancy_ablation")
    trial = example.trial(example.frame["trial"][0])
    assert trial.metrics["top1"] > 50 and len(trial.curves) == 16
    for of in (lambda: trial.config, lambda: trial.log, lambda: trial.load()):
        assert "only the frame is here" in refusal(of)


def test_a_notebook_shows_sentences_not_tracebacks(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    for line in ('studies.open("toi")', 'studies.open("toy").compare("recursoin=1")', 'studies.plan("srte")'):
        result = shell.run_cell(f"import studies\n{line}", store_history=False)
        assert isinstance(result.error_in_exec, studies.StudyError)
        said = capsys.readouterr().out
        assert said.strip() == str(result.error_in_exec) and "did you mean" in said


def test_wrong_names_come_as_one_kind_of_error(store: Store) -> None:
    results = studies.open("toy")
    calls: list[Callable[[Results], object]] = [
        lambda r: r.compare("recursoin=1"), lambda r: r.table("result"), lambda r: r.figure("arm"),
    ]  # fmt: skip
    for call in calls:
        assert "did you mean" in refusal(lambda call=call: call(results))
    assert results.compare("recursion=1").n == 3 and results.arms["n"].tolist() == [3] * 6
    assert "has no claims" in repr(results.claims())
    assert "toy" in repr(results) and "A toy" in results._repr_html_()


def test_a_folder_that_cannot_be_written_is_read_with_a_warning(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    studies.open("toy")

    def denied(*given: object) -> None:
        raise PermissionError(13, "Permission denied", str(store.study("toy") / "trials.csv"))

    monkeypatch.setattr("studies.engine.results.collect.collect", denied)
    with pytest.warns(UserWarning, match="Permission denied: trials that ended since the frame was written"):
        assert len(studies.open("toy").frame) == 18
    (store.study("toy") / "trials.csv").unlink()
    (store.study("toy") / "trials.parquet").unlink()
    assert "Permission denied" in refusal(lambda: studies.open("toy"))


def test_a_figure_is_saved_or_refused_in_a_sentence(store: Store, tmp_path: Path) -> None:
    figure = studies.open("toy").figure()
    assert figure.save(tmp_path / "a.svg").read_bytes() == figure.svg
    assert "figures are saved as" in refusal(lambda: figure.save(tmp_path / "a.xyz"))
    assert "No such file or directory" in refusal(lambda: figure.save(tmp_path / "nowhere" / "a.svg"))


@pytest.mark.parametrize("study", [5, None, b"toy", ["toy"], "~nobody-here/x"])
def test_what_is_no_study_is_said(study: Any) -> None:
    text = refusal(lambda: studies.open(study))
    assert text.startswith(f"{study!r} is no study: give its name" if not isinstance(study, str) else f"{study}: ")


def test_what_is_no_beginning_of_an_id_is_said() -> None:
    found: Any = studies.open(EXAMPLE / "tpc_vit")
    assert refusal(lambda: found.trial(5)) == "5 is no trial: give the beginning of its id"
