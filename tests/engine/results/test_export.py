"""export: a zip that checks itself, tells the truth in its checklist, and is the same for the same study."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from click.testing import CliRunner, Result

from studies.engine.cli.main import cli
from studies.engine.results.bundle import open as bundle
from studies.engine.results.bundle.export import export
from studies.engine.results.collect import collect
from studies.engine.storage.code_snapshot import fingerprint, root
from studies.engine.storage.plan_file import read_plan
from studies.engine.storage.results_dir import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def finished(store: Store, **kwargs: Any) -> Path:
    """A study with a frame and something rendered."""
    folder = made.run_all(store, made.make_plan(**kwargs))
    code = store.root / "code" / "0123" / "dynvit"
    code.mkdir(parents=True)
    (code / "task.py").write_text("x = 1\n")
    (code.parent / "source.json").write_text('{"source": "f00d"}')
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "task.pyc").write_bytes(b"no")
    collect(store, folder)
    for name in ("tables/main.tex", "figures/pareto.pdf", "report.html", "reproducibility.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"rendered {name}\n")
    (folder / "tables" / ".rendered.json").write_text("{}")
    return folder


def unpack(path: Path, to: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(to)
    (top,) = to.iterdir()
    return top


def test_it_holds_everything_and_checks_itself(store: Store, tmp_path: Path) -> None:
    plan = read_plan(finished(store))
    count = export(store, plan, tmp_path / "x.zip")
    top = unpack(tmp_path / "x.zip", tmp_path / "out")
    assert top.name == "toy"
    names = sorted(p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file())
    assert len(names) == count
    trials = [n for n in names if n.startswith("trials/")]
    assert len(trials) == 18 * 3
    assert [n for n in names if not n.startswith("trials/")] == [
        *(
            "README.md",
            "SHA256SUMS",
            "code/f00d/dynvit/task.py",
            "code/f00d/source.json",
            "curves.parquet",
            "environments.json",
        ),
        *("figures/pareto.pdf", "plan.json", "report.html", "reproducibility.md", "results.json"),
        *("ro-crate-metadata.json", "study/toy.yaml", "tables/main.tex", "trials.csv", "trials.parquet"),
    ]
    assert (top / "study" / "toy.yaml").read_text() == plan.study_text
    check = subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=top, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    assert len(check.stdout.splitlines()) == count - 1
    (top / "trials.csv").write_text("changed")
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=top, capture_output=True).returncode == 1


def test_same_study_same_bytes(store: Store, tmp_path: Path) -> None:
    folder = finished(store)
    export(store, read_plan(folder), tmp_path / "a.zip")
    for path in folder.rglob("*"):
        path.touch()
    export(store, read_plan(folder), tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def checklist(store: Store, folder: Path, tmp_path: Path) -> dict[str, bool]:
    collect(store, folder)
    export(store, read_plan(folder), tmp_path / "c.zip")
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        text = archive.read("toy/README.md").decode()
    return {line[6:]: line[3] == "x" for line in text.splitlines() if line.startswith("- [")}


def ticked(boxes: dict[str, bool], start: str) -> tuple[bool, str]:
    ((text, tick),) = [(t, ok) for t, ok in boxes.items() if t.startswith(start)]
    return tick, text


def test_the_checklist_is_ticked_where_the_trials_show_it(store: Store, tmp_path: Path) -> None:
    boxes = checklist(store, finished(store), tmp_path)
    assert all(boxes.values()), boxes
    assert ticked(boxes, "Every planned trial") == (True, "Every planned trial is here: 18 of 18 done")
    assert ticked(boxes, "Equal seeds")[1] == "Equal seeds in every arm: 0, 1, 2"
    assert ticked(boxes, "Compute")[1] == "Compute: 0.06 hours of trials, 9.00 GPU-hours"


def test_the_checklist_is_not_ticked_where_they_do_not(store: Store, tmp_path: Path) -> None:
    folder = finished(store, seeds=2)
    plan = read_plan(folder)
    missing, other = store.trial(plan.trials[0].folder), store.trial(plan.trials[1].folder)
    missing.result_file.unlink()
    made.fail(missing, made.START)
    env = {"git": {"sha": "abc1234", "dirty": True}, "source": "beef", "packages": {"torch": "2.15.0"}}
    (other.attempt_folder(0) / "env.json").write_text(json.dumps(env))
    boxes = checklist(store, folder, tmp_path)
    assert ticked(boxes, "Every planned") == (False, "Every planned trial is here: 11 of 12 done: 1 failed")
    assert not ticked(boxes, "At least three seeds")[0]
    assert ticked(boxes, "One version of the code") == (False, "One version of the code: beef, f00d")
    assert not ticked(boxes, "That code is included")[0]
    assert ticked(boxes, "Clean commit") == (False, "Clean commit: abc1234 (10 trials); abc1234+ (1 trials)")


def test_code_that_ran_in_place_is_included_while_it_is_unchanged(store: Store, tmp_path: Path) -> None:
    """Trials of the inline launcher leave no snapshot behind."""
    folder = finished(store, seeds=3)
    source = fingerprint(root())
    env = {"git": {"sha": "abc1234", "dirty": False}, "source": source, "packages": {"torch": "2.15.0"}}
    for trial in read_plan(folder).trials:
        (store.trial(trial.folder).attempt_folder(0) / "env.json").write_text(json.dumps(env))
    assert all(checklist(store, folder, tmp_path).values())
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        written = archive.read(f"toy/code/{source}/studies/engine/results/bundle/export.py")
    assert written == (root() / "studies" / "engine" / "results" / "bundle" / "export.py").read_bytes()


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["export", *arguments, "--results", str(store.root)], standalone_mode=False)


def test_the_command_renders_first_and_says_what_is_missing(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    store.trial(read_plan(folder).trials[0].folder).result_file.unlink()
    result = run(store, "toy")
    assert result.return_value == 0, result.output
    assert "1 of 18 trials have no result" in result.output
    with zipfile.ZipFile(folder / "toy.zip") as archive:
        names = archive.namelist()
    assert "toy/report.html" in names
    assert any(n.startswith("toy/tables/") and n.endswith(".tex") for n in names)
    first = (folder / "toy.zip").read_bytes()
    assert run(store, "toy").return_value == 0
    assert (folder / "toy.zip").read_bytes() == first


def test_a_trial_that_ends_while_the_tables_are_made_is_in_all_files(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.run_all(store, made.make_plan())
    late = store.trial(read_plan(folder).trials[0].folder)
    late.result_file.unlink()
    made.start(late)
    once: list[None] = []

    def render(*args: Any) -> None:
        collect(store, folder)
        if not once:
            made.finish(late, made.START + 50)
            once.append(None)

    monkeypatch.setattr("studies.engine.cli.commands.export.render", render)
    assert run(store, "toy").return_value == 0
    with zipfile.ZipFile(folder / "toy.zip") as archive:
        rows = list(csv.DictReader(archive.read("toy/trials.csv").decode().splitlines()))
        means = json.loads(archive.read("toy/results.json"))["results"]
    assert {row["status"] for row in rows} == {"done"}
    assert {mean["n"] for mean in means} == {3}


@pytest.mark.parametrize("name", ["result.json", "spec.json", "env.json"])
def test_a_damaged_file_of_one_trial_leaves_a_bundle_that_opens(store: Store, tmp_path: Path, name: str) -> None:
    folder = made.run_all(store, made.make_plan(seeds=1))
    hurt = store.trial(read_plan(folder).trials[0].folder)
    next(hurt.path.rglob(name)).write_text('{"metr')
    collect(store, folder)
    export(store, read_plan(folder), tmp_path / "toy.zip")
    opened = bundle.unpack(tmp_path / "toy.zip", tmp_path / "open")
    assert not list((opened.folder / "trials" / hurt.id).rglob(name))
    assert len(opened.trials) == (6 if name == "env.json" else 5)


def test_what_was_exported_renders_the_same_tables(store: Store, tmp_path: Path) -> None:
    folder = made.run_all(store, made.make_plan())
    assert run(store, "toy", "-o", str(tmp_path / "toy.zip")).return_value == 0
    top = unpack(tmp_path / "toy.zip", tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (top / "tables").iterdir()}
    assert before
    for path in (top / "tables").iterdir():
        path.unlink()
    command = [sys.executable, "-m", "paper_tables", "--results", "..", "toy"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": ""}
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert {p.name: p.read_bytes() for p in (top / "tables").iterdir() if p.name in before} == before
    assert (folder / "tables").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toy@gpu"], "toy@gpu has not been run"),
        (["toy", "--scale", "gpu"], "toy@gpu has not been run"),
        (["toy@smoke", "--smoke"], "already names its label"),
        (["../toy"], 'no study "../toy"'),
        (["toy", "-o", "no/such/folder/x.zip"], "no such folder"),
        (["toy", "--spec", "nowhere.yaml"], "no such file"),
    ],
)
def test_wrong_arguments_are_said_and_nothing_is_written(store: Store, arguments: list[str], message: str) -> None:
    folder = made.run_all(store, made.make_plan(seeds=1))
    result = run(store, *arguments)
    assert result.exception is not None
    assert message in result.exception.message  # type: ignore[attr-defined]
    assert result.exception.exit_code == 2  # type: ignore[attr-defined]
    assert not list(folder.glob("*.zip"))


def test_no_folder_or_pipe_makes_way_for_a_zip(store: Store, tmp_path: Path) -> None:
    finished(store)
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    for place in (store.root, tmp_path / "pipe"):
        done = CliRunner().invoke(cli, ["export", "toy", "--results", str(store.root), "-o", str(place)])
        assert done.exit_code == 2 and "where a zip is to be written" in done.output
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "pipe").is_fifo()


LONG = "x" * 300


@pytest.mark.parametrize(
    "words", [("tables", LONG), ("sync", LONG), ("export", LONG), ("tables", "toy", "--spec", LONG), ("verify", LONG)]
)
def test_a_name_that_no_file_can_have_is_refused_in_a_line(store: Store, words: tuple[str, ...]) -> None:
    finished(store)
    done = CliRunner().invoke(cli, [*words, "--results", str(store.root)])
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit), done.exception


@pytest.mark.parametrize("option", [("--sample", "-1"), ("--cpus", "0")])
def test_no_negative_number_of_trials_or_threads(option: tuple[str, str]) -> None:
    done = CliRunner().invoke(cli, ["verify", __file__, *option])
    assert done.exit_code == 2 and "not in the range" in done.output
