"""`python -m paper_tables all`: every study, one index, one list of claims, one paper that compiles."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic_cost
import synthetic_frame
from fast_drawing import svg_alone

from paper_tables import build
from paper_tables.__main__ import main
from paper_tables.core.paths import PACKAGE
from paper_tables.site.index import digest_in, write_index
from paper_tables.site.mlflow_links import links

ROOT = Path(__file__).parents[3]
SPEC = Path(__file__).parents[1] / "support" / "compared.yaml"
GOLDEN = ROOT / "tests" / "golden" / "paper_tables"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("all") / "results"
    trials, curves = synthetic_frame.frames()
    synthetic_frame.write(
        root / "my_study@50% & more_",
        trials.assign(study="my_study"),
        curves,
        {**synthetic_frame.about(), "study": "my_study", "title": "50% & more_"},
    )
    synthetic_frame.study(root / "redundancy_ablation")
    synthetic_cost.study(root / "other_cost")
    build(root / "redundancy_ablation", SPEC)
    build(root / "my_study@50% & more_")
    write_index(root)
    return root


def test_a_study_without_a_finished_trial_stands_in_the_index_too(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    synthetic_frame.write(tmp_path / "begun", trials.assign(status="failed"), curves, synthetic_frame.about())
    build(tmp_path / "begun")
    write_index(tmp_path)
    assert f'<td class="num">0</td><td>{len(trials)} failed</td>' in (tmp_path / "index.html").read_text()


def test_paper_compiles(results: Path, tmp_path: Path) -> None:
    """Two columns: nothing wider than its place, nothing undefined, every table and figure in it."""
    if not shutil.which("pdflatex"):
        reason = "pdflatex is not installed here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    for folder in ("redundancy_ablation", "plain"):
        shutil.copytree(results / "redundancy_ablation", tmp_path / folder)
    build(tmp_path / "plain", PACKAGE / "redundancy_ablation.yaml")
    write_index(tmp_path)
    for _ in range(2):
        done = subprocess.run(
            ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    for trouble in ("Overfull", "undefined", "Too many unprocessed floats", "Missing character"):
        assert trouble not in log
    assert (tmp_path / "paper.tex").read_text().count(r"\input{") == 10
    assert (tmp_path / "paper.tex").read_text().count(r"\includegraphics") == 8


def test_claims_in_one_list(results: Path) -> None:
    lines = (results / "claims.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == 10
    assert {row["study"] for row in rows} == {"redundancy_ablation"}
    assert [row["verdict"] for row in rows if row["name"] == "recursion"] == ["reproduced"] * 2
    assert next(row["reason"] for row in rows if row["name"] == "not_yet") == "study evo_vit has no results"
    text = (results / "claims.md").read_text(encoding="utf-8")
    assert "Sentences of the papers' abstracts: 2 reproduced, 1 undecided and 4 not run." in text
    assert text.startswith("# Findings\n\n**SReT (arXiv 2111.05297):** “recursion alone")


def test_nothing_is_written_twice(results: Path) -> None:
    before = {name: (results / name).stat().st_mtime_ns for name in ("index.html", "paper.tex", "claims.md")}
    write_index(results)
    assert {name: (results / name).stat().st_mtime_ns for name in before} == before


def test_files_of_somebody_else_stay(tmp_path: Path) -> None:
    build(synthetic_cost.study(tmp_path / "my_cost"))  # a study without claims
    (tmp_path / "claims.md").write_text("my own notes on the claims of these studies \n")
    assert {p.name for p in write_index(tmp_path)} == {"index.html", "paper.tex"}
    assert (tmp_path / "claims.md").read_text().startswith("my own")
    assert digest_in(tmp_path / "claims.md") == ""


def test_same_frames_same_bytes(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    for folder in results.iterdir():
        if folder.is_dir():
            files = [f for f in folder.iterdir() if f.suffix in (".csv", ".parquet") and f.name != "origins.csv"]
            (other / folder.name).mkdir(parents=True)
            for file in files:
                shutil.copy(file, other / folder.name)
    code = (
        "import sys; from pathlib import Path\n"
        "from paper_tables import build; from paper_tables.site.index import write_index\n"
        "root = Path(sys.argv[1])\n"
        "build(root / 'redundancy_ablation', Path(sys.argv[2])); build(root / 'my_study@50% & more_'); "
        "write_index(root)"
    )
    env = {**os.environ, "PYTHONHASHSEED": "5", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(other), str(SPEC)], cwd=ROOT, env=env, check=True, timeout=600)
    names = [
        f"redundancy_ablation/tables/{n}.{e}"
        for n in ("models", "narrow", "claims", "claim_tests")
        for e in ("tex", "md", "html")
    ]
    names += ["redundancy_ablation/origins.csv", "redundancy_ablation/report.html"]
    for name in [*names, "index.html", "paper.tex", "claims.md", "claims.csv"]:
        one, two = (hashlib.sha256((root / name).read_bytes()).hexdigest() for root in (results, other))
        assert one == two, name


def test_origins_name_the_trials(results: Path) -> None:
    with (results / "redundancy_ablation" / "origins.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    trials = set(synthetic_frame.frames()[0]["trial"])
    assert {row["table"] for row in rows} == {"models", "narrow", "claim_tests"}
    for row in rows:
        assert row["trials"] or row["source"]
        assert row["study"] or set(row["trials"].split()) <= trials
    swin = next(row for row in rows if row["row"].startswith("Trunks, Swin-T") and row["column"] == "Params (M), paper")
    assert (swin["value"], "microsoft/Swin-Transformer" in swin["source"]) == ("28.0", True)


@svg_alone()
def test_another_studys_frame_is_an_input(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    build(folder, SPEC)
    assert build(folder, SPEC).unchanged
    synthetic_cost.study(tmp_path / "cost")
    assert not build(folder, SPEC).unchanged
    assert build(folder, SPEC).unchanged
    assert "28.29" in (folder / "tables" / "models.md").read_text()


@svg_alone()
def test_runs_on_a_server_are_an_input(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    build(folder, SPEC)
    mirror = '{"uri": "%s", "token": "", "trials": {"a91daf155da3": {"run": "r1"}, "b": {"run": ""}}}'
    (folder / ".mirror.json").write_text(mirror % "sqlite:////somewhere/mlflow.db")
    assert links(folder) == {}
    assert build(folder, SPEC).unchanged
    (folder / ".mirror.json").write_text(mirror % "https://u:p@host/mlflow/")
    assert links(folder) == {"a91daf155da3": "https://host/mlflow/#/runs/r1"}
    assert not build(folder, SPEC).unchanged
    (folder / ".mirror.json").write_text("{ cut")
    assert links(folder) == {}


@svg_alone()
def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["all", "--results", str(tmp_path)]) == 2
    assert "no results here" in capsys.readouterr().err
    synthetic_cost.study(tmp_path / "my_cost")
    synthetic_frame.study(tmp_path / "redundancy_ablation")
    assert main(["all", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "my_cost                      1 tables, 1 figures" in out
    assert "redundancy_ablation          6 tables, 6 figures" in out
    assert "paper.tex" in out
    assert main(["all", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("unchanged") == 2
    (tmp_path / "my_cost" / "trials.parquet").write_bytes(b"not parquet")
    assert main(["all", "--results", str(tmp_path)]) == 2
    output = capsys.readouterr()
    assert "my_cost: " in output.err
    assert "unchanged" in output.out


def test_without_torch_and_without_the_network() -> None:
    code = (
        "import sys, paper_tables.__main__, paper_tables.site.index\n"
        "from paper_tables.site import render, report, latex_document\n"
        "print(sorted({'torch', 'timm', 'mlflow', 'ray', 'requests', 'studies', 'dynvit'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "[]", done.stderr
