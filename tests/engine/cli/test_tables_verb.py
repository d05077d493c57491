"""tables: frame and tables in one command, without torch, Ray, MLflow or submitit."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import made_study as made
import pytest
from click.testing import CliRunner, Result

from studies.engine.cli.main import cli
from studies.engine.storage.results_dir import Store

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["tables", *arguments, "--results", str(store.root)], standalone_mode=False)


def test_it_says_what_it_wrote_and_the_second_time_that_nothing_changed(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    first = run(store, "toy")
    assert first.return_value == 0, first.output
    lines = dict(line.split(None, 1) for line in first.output.splitlines() if len(line.split()) > 1)
    assert lines["frame"] == f"{folder}/trials.csv  18 trials"
    assert lines["tables"].startswith(f"{folder}/tables/")
    assert "(+ csv, html, md)" in lines["tables"]
    assert lines["report"] == f"{folder}/report.html"
    stamps = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    again = run(store, "toy")
    assert again.output.count("unchanged") == 3
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == stamps


def test_a_new_result_changes_them(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    trial = store.trial(plan["trials"][0]["folder"])
    trial.result_file.unlink()
    made.fail(trial, made.START)
    assert "18 trials, 1 without a result" in run(store, "toy").output
    before = (folder / "trials.csv").read_bytes()
    made.finish(trial, made.START + 50, top1=99.0)
    result = run(store, "toy")
    assert "unchanged" not in result.output
    assert (folder / "trials.csv").read_bytes() != before


def test_a_metric_that_no_trial_has_is_named_with_the_nearest_it_has(store: Store) -> None:
    plan = made.make_plan()
    wrong = {"score": {"from": "val.los"}, "topp1": {"from": "best"}, "gflop": {"from": None}, "xyz": {"from": None}}
    filled = {name: {"direction": "none", "unit": "", **metric} for name, metric in wrong.items()}
    plan["metrics"] = {**made.METRICS, **filled}
    made.run_all(store, plan)
    said = 'score from val.los (did you mean "val.loss"?), topp1 from best (did you mean "top1"?), gflop (did you mean '
    assert f'blank     no finished trial has {said}"gflops"?), xyz\n' in run(store, "toy").output
    plan["metrics"] = dict(made.METRICS)
    made.write_plan(store, plan)
    assert "\nblank " not in run(store, "toy").output
    made.write_plan(store, {**plan, "trials": plan["trials"][:1]})  # the last trial is the first to have them
    assert "\nblank " not in run(store, "toy").output


def test_nothing_is_blank_where_nothing_is_finished(store: Store) -> None:
    plan = made.make_plan()
    made.write_plan(store, plan)
    for planned in plan["trials"]:
        made.create(store, planned)
    assert "\nblank " not in run(store, "toy").output


def test_a_label_is_another_folder(store: Store) -> None:
    made.run_all(store, made.make_plan(seeds=1))
    smoke = made.run_all(store, made.make_plan(seeds=1, label="smoke"))
    assert run(store, "toy@smoke").return_value == 0
    assert (smoke / "trials.csv").exists()
    assert not (store.study("toy") / "trials.csv").exists()
    assert run(store, "toy", "--smoke").return_value == 0


def test_a_damaged_table_file_is_refused_with_its_place(store: Store, tmp_path: Path) -> None:
    made.run_all(store, made.make_plan(seeds=1))
    spec = tmp_path / "bad.yaml"
    spec.write_text("study: toy\ntables:\n  - {name: x, colums: []}\n")
    result = run(store, "toy", "--spec", str(spec))
    assert result.exception is not None
    assert result.exception.exit_code == 2  # type: ignore[attr-defined]
    assert "bad.yaml:3" in result.exception.message  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}'])
def test_a_damaged_plan_is_one_line(store: Store, text: str) -> None:
    folder = made.run_all(store, made.make_plan(seeds=1))
    (folder / "plan.json").write_text(text)
    command = [sys.executable, "-m", "studies", "tables", "toy", "--results", str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_table_needs_none_of_the_training_packages(store: Store) -> None:
    made.run_all(store, made.make_plan())
    code = """
        import sys
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"torch", "ray", "mlflow", "submitit", "timm", "torchvision"}:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Absent())
        from studies.engine.cli.main import cli
        sys.exit(cli.main(["tables", "toy", "--results", sys.argv[1]], standalone_mode=False))
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout
