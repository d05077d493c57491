"""Whose table file is taken, what a run is called, and what is said when a study file was edited."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from finished_trial import finish
from study_text import STUDY, write

from studies.engine.catalog.tasks import load_task, task_names
from studies.engine.cli.main import cli
from studies.engine.cli.rule_record import recorded_rules
from studies.engine.cli.study_lookup import find_run, plan_selection
from studies.engine.planning.overrides import hashed_label, make_label
from studies.engine.planning.selection import Selection
from studies.engine.storage.plan_file import write_plan
from studies.engine.storage.results_dir import Store
from studies.engine.study.metrics import unknown_metrics
from studies.engine.study.parts import Metric

METRICS = "metrics: {score: {direction: max, unit: points}}\n"
TABLE = "study: small\ntables:\n  - {name: mine, caption: My own table, columns: [{metric: score}]}\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


def text(result: Result) -> str:
    return result.output + str(getattr(result.exception, "message", result.exception or ""))


def run_study(selection: Selection, spec: Path | None = None) -> Path:
    """Do what `run` does, without training."""
    made, store = plan_selection(selection), selection.store
    write_plan(recorded_rules(made, store, spec))
    for i, trial in enumerate(made.selected):
        finish(store, trial)
        store.trial(trial.folder_id).set_result({"metrics": {"score": float(i)}, "cost": {"seconds": 1.0}})
    return made.folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNVIT_RESULTS", raising=False)
    write(tmp_path / "studies")
    edit(lambda study: re.sub(r"metrics:\n(  .*\n)+", METRICS, study))
    return Store(Path("results"))


def edit(change) -> None:
    file = Path("studies/small.yaml")
    file.write_text(change(file.read_text()))


def tables(folder: Path) -> list[str]:
    return sorted(file.stem for file in (folder / "tables").glob("*.tex"))


# ---- table files


def beside_the_study() -> None:
    Path("studies/small.tables.yaml").write_text(TABLE)


def beside_its_folder() -> None:
    Path("paper_tables").mkdir()
    Path("paper_tables/small.yaml").write_text(TABLE)


def named_by_the_study() -> None:
    Path("elsewhere.yaml").write_text(TABLE)
    edit(lambda study: study + "tables: ../elsewhere.yaml\n")


@pytest.mark.parametrize("place", [beside_the_study, beside_its_folder, named_by_the_study])
def test_an_own_table_file_is_found_from_anywhere(store: Store, place, tmp_path: Path) -> None:
    place()
    folder = run_study(Selection("small"))
    other = tmp_path / "other"
    other.mkdir()
    os.chdir(other)
    done = run("tables", "small", "--results", str(store.root))
    assert done.return_value == 0, text(done)
    assert tables(folder) == ["mine"]
    assert "My own table" in done.output


def test_what_an_own_table_file_made_is_not_replaced_by_default_tables(store: Store, tmp_path: Path) -> None:
    """Not by later `tables` without --spec, not by paper_tables, and not where the file is gone."""
    folder = run_study(Selection("small"))
    assert run("tables", "small").return_value == 0
    assert tables(folder) == ["results"]
    own = tmp_path / "own.yaml"
    own.write_text(TABLE)
    assert run("tables", "small", "--spec", str(own)).return_value == 0
    assert run("tables", "small").return_value == 0
    assert tables(folder) == ["mine"]
    own.unlink()
    refused = run("tables", "small")
    assert "own.yaml, which is gone" in text(refused)
    assert tables(folder) == ["mine"]


def test_run_takes_a_table_file_and_keeps_it(store: Store, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(TABLE)
    folder = run_study(Selection("small"), own)
    assert find_run(Selection("small")).table_file == str(own)
    assert run("tables", "small").return_value == 0
    assert tables(folder) == ["mine"]
    assert "nothing.yaml: no such file" in text(run("run", "small", "--spec", "nothing.yaml"))


def test_a_missing_table_file_has_its_place(store: Store) -> None:
    edit(lambda study: study + "tables: nothing.yaml\n")
    assert "tables: no file studies/nothing.yaml" in text(run("plan", "small"))


def test_a_second_table_file_is_named(store: Store) -> None:
    beside_the_study()
    assert "is read" not in run("plan", "small").output
    beside_its_folder()
    line = "tables    studies/small.tables.yaml is read, not paper_tables/small.yaml"
    assert line in run("plan", "small").output
    run_study(Selection("small"))
    assert line in run("tables", "small").output
    edit(lambda study: study + "tables: ../paper_tables/small.yaml\n")
    assert "tables    paper_tables/small.yaml is read, not studies/small.tables.yaml" in run("plan", "small").output


# ---- what a run is called


def test_another_study_of_the_same_name_does_not_take_the_folder(store: Store, tmp_path: Path) -> None:
    folder = run_study(Selection("small"))
    write(tmp_path / "copy", Path("studies/small.yaml").read_text())
    other = write(tmp_path / "other", Path("studies/small.yaml").read_text().replace("{epochs: 2}", "{epochs: 3}"))
    asked = ("--on", "inline", "--results", str(store.root.resolve()))
    refused = text(run("run", str(other), *asked))
    assert f"{folder} holds the results of another study file, {Path('studies/small.yaml').resolve()}" in refused
    assert "rename one, or use another --results" in refused
    assert json.loads((folder / "plan.json").read_text())["study_path"] == str(Path("studies/small.yaml").resolve())
    assert run("run", str(tmp_path / "copy" / "small.yaml"), *asked).return_value == 0  # the same trials
    Path("studies/small.yaml").unlink()  # it was moved


def test_a_scale_has_the_name_of_the_smoke_run(store: Store) -> None:
    edit(lambda study: study.replace("  large:\n", "  smoke: {train: {epochs: 3}}\n  tiny-smoke: {}\n  large:\n"))
    assert run("plan", "small", "--scale", "smoke").return_value == 0
    assert "--smoke  its results are called as those of the scale smoke: --scale smoke" in text(
        run("plan", "small", "--smoke")
    )
    assert run("plan", "small", "--scale", "large", "--smoke").return_value == 0


def test_direction_and_unit_that_are_left_out_are_the_task_s(store: Store) -> None:
    write(Path("other"))
    task = Path("other/task.py")
    task.write_text(task.read_text() + 'HEADLINE = {"score": {"direction": "min", "unit": "ms"}}\n')
    study = Path("other/small.yaml")
    study.write_text(re.sub(r"metrics:\n(  .*\n)+", "metrics: {score: {from: last}, top1: {}}\n", study.read_text()))
    made = plan_selection(Selection(str(study))).study.metrics
    assert made == {"score": Metric("last", "min", "ms"), "top1": Metric()}
    study.write_text(study.read_text().replace("{from: last}", "{direction: none}"))
    assert plan_selection(Selection(str(study))).study.metrics["score"] == Metric(None, "none", "ms")


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        ([("train.epochs", 150)], "train.epochs=150"),
        ([("train.lr", 0.001), ("train.epochs", 2)], "train.epochs=2,train.lr=0.001"),
        ([("model.stabilizer", "true")], None),  # the truth value would be called so
        ([("train.optimizer", "sgd")], "train.optimizer=sgd"),
        ([("train.optimizer", "2")], None),
        ([("model.groups", [[1, 1]])], None),
        ([("data.root", "a/b")], None),
        ([(f"train.setting_{i}", i) for i in range(9)], None),
    ],
)
def test_a_label_is_readable_where_it_is_short_and_plain(overrides: list, label: str | None) -> None:
    made = make_label("gpu", False, overrides)
    assert made == f"gpu-{label}" if label else made.startswith("gpu-set-")


def test_overrides_stand_in_plan_report_and_tables(store: Store) -> None:
    folder = run_study(Selection("small", overrides=("train.epochs=5",)))
    assert folder.name == "small@train.epochs=5"
    assert json.loads((folder / "plan.json").read_text())["overrides"] == ["train.epochs=5"]
    done = run("tables", "small", "--set", "train.epochs=5")
    assert done.return_value == 0, text(done)
    report = (folder / "report.html").read_text()
    assert "<code>train.epochs=5</code>" in report[: report.index("<main>")]
    assert "with train.epochs=5" in (folder / "reproducibility.md").read_text()


def test_a_folder_of_an_earlier_version_is_still_found(store: Store) -> None:
    folder = run_study(Selection("small", overrides=("train.epochs=5",)))
    old = folder.with_name(f"small@{hashed_label('', False, [('train.epochs', 5)])}")
    folder.rename(old)
    assert find_run(Selection("small", overrides=("train.epochs=5",))).folder == old
    assert plan_selection(Selection("small", overrides=("train.epochs=5",))).folder == old


# ---- edits


def test_plan_run_and_tables_name_the_settings_that_differ(store: Store) -> None:
    run_study(Selection("small"))
    assert "changed" not in run("plan", "small").output
    edit(lambda study: study.replace("{epochs: 2}", "{epochs: 4}"))
    line = "changed   train.epochs 2 -> 4 in 12 trials"
    assert line in run("plan", "small").output
    done = run("tables", "small")
    assert line in done.output
    assert "`studies run small` makes them again" in done.output


def test_an_arm_that_is_gone_is_counted(store: Store) -> None:
    run_study(Selection("small"))
    edit(lambda study: study.replace("fast: 1", "quick: 2"))
    assert "1 arm of before left out" in run("plan", "small").output


def test_tables_takes_metrics_and_labels_of_the_study_file(store: Store) -> None:
    folder = run_study(Selection("small"))
    run("tables", "small")
    edit(lambda study: study.replace("score: {direction: max, unit: points}", "score: {direction: min, unit: s}"))
    edit(lambda study: study.replace("Recursion depth", "Passes").replace("A small question", "Another title"))
    done = run("tables", "small")
    assert done.return_value == 0, text(done)
    assert "unchanged" not in done.output
    plan = json.loads((folder / "plan.json").read_text())
    assert plan["metrics"]["score"] == {"from": None, "direction": "min", "unit": "s"}
    assert plan["parts"][0]["axes"][0]["label"] == "Passes"
    assert "Another title" in (folder / "report.html").read_text()


def test_a_study_file_with_errors_leaves_the_plan_as_it_was(store: Store) -> None:
    folder = run_study(Selection("small"))
    before = (folder / "plan.json").read_bytes()
    edit(lambda study: study + "sedes: [1]\n")
    assert "has 1 error now: metrics and labels are those of the last run" in run("tables", "small").output
    assert (folder / "plan.json").read_bytes() == before


def test_an_own_study_that_hides_one_of_the_package_is_named(store: Store) -> None:
    Path("studies/sret.yaml").write_text(STUDY.replace("study: small", "study: sret"))
    line = f"sret is {Path('studies/sret.yaml').resolve()}, which hides the package's study of that name"
    assert line in run("plan", "sret").output
    assert line in run("list").output


# ---- metrics


def test_a_study_without_metrics_has_those_of_its_task(store: Store) -> None:
    edit(lambda study: study.replace(METRICS, ""))
    assert plan_selection(Selection("small")).study.metrics == {}  # an own task that declares none
    task = Path("studies/task.py")
    task.write_text(task.read_text() + 'HEADLINE = {"score": {"direction": "max", "unit": "points"}}\n')
    folder = run_study(Selection("small"))
    assert json.loads((folder / "plan.json").read_text())["metrics"] == {
        "score": {"from": None, "direction": "max", "unit": "points"}
    }
    assert "Score" in run("tables", "small").output or "score" in run("tables", "small").output


def test_packaged_tasks_declare_headline_metrics_that_their_trials_have() -> None:
    for name in task_names():
        task = load_task(name)
        assert task.headline
        wanted = {key: Metric(one.get("from"), one["direction"]) for key, one in task.headline.items()}  # type: ignore[arg-type]
        assert list(unknown_metrics(wanted, task.metrics, name)) == []
