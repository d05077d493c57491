"""`show`, and the table at the end of `tables`: the cells of the written tables, as wide as the terminal."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import made_study as made
import pytest
import synthetic_frame
from click.testing import CliRunner, Result
from rich.console import Console

from paper_tables import build, summary
from paper_tables.formats.terminal import render
from studies.engine.cli.main import cli
from studies.engine.storage.results_dir import Store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results")
    made.run_all(store, made.make_plan())
    return store


def drawn(table: dict, width: int | None) -> list[str]:
    console = Console(width=width or 10_000, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(table, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_main_table_has_the_cells_of_the_written_one(store: Store) -> None:
    shown = run("show", "toy", "--results", str(store.root))
    assert shown.return_value == 0, shown.output
    assert not (store.study("toy") / "tables").exists()  # nothing is rendered
    assert run("tables", "toy", "--results", str(store.root)).return_value == 0
    written = (store.study("toy") / "tables" / "results.md").read_text()
    numbers = re.findall(r"[+−]?\d+\.\d+(?: ± \d+\.\d+)?", written)
    assert len(numbers) > 10
    assert all(number in shown.output for number in numbers)


def test_tables_ends_with_the_first_rows_and_says_where_the_rest_is(store: Store) -> None:
    output = run("tables", "toy", "--results", str(store.root)).output
    assert "A toy: all arms (3 seeds)." in output
    assert output.splitlines()[-1] == "more      studies show toy"


def test_notes_are_left_out_only_when_asked_and_never_in_silence(store: Store) -> None:
    whole, short = (run("show", "toy", *words, "--results", str(store.root)).output for words in ((), ("--no-notes",)))
    head, _, tail = short.rpartition("\n6 notes left out\n")
    assert head and whole.startswith(f"{head}\n") and tail == ""
    assert len(whole.splitlines()) == len(head.splitlines()) + 6
    both = run("show", "toy", "--no-notes", "--json", "--results", str(store.root))
    assert "leave it out" in str(both.exception.message)  # type: ignore[union-attr]


def test_for_programs(store: Store) -> None:
    written = json.loads(run("tables", "toy", "--json", "--results", str(store.root)).stdout)
    assert f"{store.study('toy')}/tables/results.tex" in written["tables"]
    found = json.loads(run("show", "toy", "--json", "--results", str(store.root)).stdout)
    assert found["names"] == ["results"]
    table = found["tables"][0]
    texts = [cell["text"] for row in table["rows"] for cell in row["cells"]]
    assert "82.00" in " ".join(texts) or any("±" in text for text in texts)


def test_what_is_not_there(store: Store) -> None:
    shown = run("show", "toy", "--table", "resluts", "--results", str(store.root))
    assert 'toy has no table resluts, did you mean "results"?' in str(shown.exception.message)  # type: ignore[union-attr]
    assert "has no claims" in str(run("show", "toy", "--claims", "--results", str(store.root)).exception.message)  # type: ignore[union-attr]


def test_a_copy_without_trials_is_shown(tmp_path: Path) -> None:
    synthetic_frame.study(tmp_path / "redundancy_ablation")
    shown = run("show", "redundancy_ablation", "--results", str(tmp_path), "--claims")
    assert shown.return_value == 0, shown.output
    assert "Verdict" in shown.output


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_numbers_are_never_cut_and_lines_fit(tmp_path: Path, width: int) -> None:
    """Every number that is shown is one of the table's; columns that do not fit are named."""
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    for table in summary(folder)["printed"]:
        if table["name"].startswith("claim"):
            continue
        lines = drawn({**table, "notes": [], "caption": ""}, width)
        assert max(map(len, lines)) <= width
        whole = "\n".join(drawn({**table, "notes": [], "caption": ""}, None))
        pattern = r"\d+\.\d+(?: ± \d+\.\d+)?"
        assert set(re.findall(pattern, "\n".join(lines))) <= set(re.findall(pattern, whole))
        shown = "\n".join(lines)
        assert "…" not in shown
        if "too narrow for" not in shown:
            assert sorted(re.findall(pattern, shown)) == sorted(re.findall(pattern, whole))


def test_the_same_with_and_without_the_record_of_a_rendering(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    before = summary(folder)
    build(folder)
    assert summary(folder) == before
    rows = list(csv.reader((folder / "tables" / f"{before['printed'][0]['name']}.csv").read_text().splitlines()))
    assert len([row for row in rows if row and not row[0].startswith("#")]) - 1 == len(before["printed"][0]["rows"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_that_lacks_some_letters_gets_the_rest(tmp_path: Path, encoding: str) -> None:
    synthetic_frame.study(tmp_path / "redundancy_ablation")
    typed = [sys.executable, "-m", "studies", "show", "redundancy_ablation", "--results", str(tmp_path)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(typed, capture_output=True, env=environment, cwd=Path(__file__).parents[3])
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("\u2191" in done.stdout.decode(encoding)) == (encoding == "utf-8")
    assert "Top-1" in done.stdout.decode(encoding)


def test_where_nothing_is_done_it_says_why(tmp_path: Path) -> None:
    store, plan = Store(tmp_path / "results"), made.make_plan(seeds=1)
    made.write_plan(store, plan)

    def said() -> str:
        return str(run("show", "toy", "--results", str(store.root)).exception.message)  # type: ignore[union-attr]

    total = len(plan["trials"])
    assert said() == f"toy: no table has data yet; trials: missing {total}; `studies status toy` shows them"
    for planned in plan["trials"]:
        folder = made.create(store, planned)
        made.start(folder)
        made.fail(folder, made.START + 1, "IndexError: target 2, " + "a long story " * 12 + "to its end")
    assert said().startswith(f"toy: no table has data: {total} of {total} trials failed: IndexError: target 2, ")
    assert said().endswith("to its end; `studies status toy` shows them")
    status = run("status", "toy", "--results", str(store.root)).output
    assert " ".join(status.split()).count("a long story to its end") == total
    assert "studies logs toy" in status


def test_what_was_not_run_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()

    def said(*words: str) -> str:
        return str(run(*words).exception.message)  # type: ignore[union-attr]

    for verb in ("show", "status", "stop"):
        for typed in ("mine", "mine.yaml"):
            assert said(verb, typed).endswith("has not been run in results; `studies run mine.yaml` runs it")
    assert said("show", "sret", "--smoke").endswith("; `studies run sret --smoke` runs it")
    assert said("status", "sert") == 'sert has not been run in results, did you mean "sret"?'
    assert said("status", "sret@gpu") == "sret@gpu has not been run in results"
