"""`build`: same frame, same bytes; nothing rendered twice; any study yields something; the command line."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import synthetic_frame
from fast_drawing import svg_alone

from paper_tables import build
from paper_tables.__main__ import main
from paper_tables.site.render_cache import RenderCache

ROOT = Path(__file__).parents[3]


def digests(folder: Path) -> dict[str, str]:
    files = [*folder.glob("tables/*.*"), *folder.glob("figures/*"), folder / "report.html"]
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if not f.name.startswith(".")}


def python(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_same_frame_same_bytes(tmp_path: Path) -> None:
    """In another process, with another hash seed, another time zone and another working directory."""
    one = synthetic_frame.study(tmp_path / "a" / "redundancy_ablation")
    two = synthetic_frame.study(tmp_path / "b" / "redundancy_ablation")
    built = build(one)
    code = "import sys; from pathlib import Path; from paper_tables import build; build(Path(sys.argv[1]))"
    python(f"import sys; sys.argv.append({str(two)!r})\n{code}", PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    assert len(built.figures) == 18
    assert digests(one) == digests(two)


@svg_alone()
def test_nothing_is_rendered_twice(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    first = build(folder)
    assert not first.unchanged
    again = build(folder)
    assert again.unchanged
    assert (again.tables, again.figures, again.report) == (first.tables, first.figures, first.report)
    code = (
        "import sys; from pathlib import Path; from paper_tables import build\n"
        f"assert build(Path({str(folder)!r})).unchanged\n"
        "print([m for m in ('pandas', 'scipy', 'seaborn', 'matplotlib', 'jinja2', 'pydantic', 'yaml', 'numpy')"
        " if m in sys.modules])"
    )
    assert python(code).strip() == "[]"


def test_what_changed_is_rendered_again(tmp_path: Path) -> None:
    folder = synthetic_frame.write(tmp_path / "toy", toy(), None, META)
    build(folder)
    before = digests(folder)
    (folder / "tables" / "results.tex").write_text("edited by hand")
    assert not build(folder).unchanged
    assert digests(folder) == before
    (folder / "figures" / "arms.svg").unlink()
    assert not build(folder).unchanged
    assert digests(folder) == before
    (folder / "tables" / ".rendered.json").write_text("{ cut short")
    assert not build(folder).unchanged
    changed = toy()
    changed.loc[3, "metric.loss"] += 1
    synthetic_frame.write(folder, changed, None, META)
    assert not build(folder).unchanged
    assert digests(folder) != before


def test_outputs_that_a_table_file_no_longer_makes_go(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    spec = tmp_path / "t.yaml"
    text = "study: redundancy_ablation\ntables:\n"
    text += "  - {name: NAME, rows: {arms: baseline, item: part}, columns: [{metric: top1}]}\n"
    spec.write_text(text.replace("NAME", "first"))
    build(folder, spec)
    (folder / "tables" / "mine.txt").write_text("not ours")
    spec.write_text(text.replace("NAME", "second"))
    build(folder, spec)
    assert sorted(f.name for f in folder.glob("tables/[!.]*")) == [
        "mine.txt", "second.csv", "second.html", "second.md", "second.tex"
    ]  # fmt: skip


def toy(seeds: int = 3, **columns: object) -> pd.DataFrame:
    rows = [
        {"study": "toy", "part": "main", "trial": f"{arm}-{s}", "arm": arm, "baseline": arm == "size=1", "seed": s,
         "status": "done", "axis.size": arm[5:], "metric.loss": 1.0 / int(arm[5:]) + 0.01 * s, "metric.gflops": 1.0,
         **columns}
        for arm in ("size=1", "size=2", "size=4") for s in range(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


META = {
    "study": "toy",
    "title": "Toy & co",
    "metrics": {"loss": {"direction": "min", "unit": None, "from": "last"}},
    "parts": [],
}


def test_any_study_yields_a_table_a_figure_and_a_report(tmp_path: Path) -> None:
    built = build(synthetic_frame.write(tmp_path / "toy", toy(), None, META))
    assert {f.name for f in built.tables} == {"results.tex", "results.md", "results.html", "results.csv"}
    assert {f.name for f in built.figures} == {"arms.pdf", "arms.svg", "arms.png"}
    text = (tmp_path / "toy" / "tables" / "results.md").read_text()
    assert "Toy & co: all arms (3 seeds)" in text
    assert "| size 4 | 3 | **0.260 ± 0.010** | −0.750" in text


@pytest.mark.parametrize("status", ["failed", "lost"])
def test_nothing_finished_is_said_not_raised(status: str, tmp_path: Path) -> None:
    built = build(synthetic_frame.write(tmp_path / "toy", toy(status=status), None, META))
    assert (built.tables, built.figures) == ([], [])
    text = built.report.read_text()
    assert f"no trial has finished (9 {status})" in text
    assert "figure arms: no finished trial with loss" in text
    assert build(tmp_path / "toy").unchanged


def test_an_empty_frame(tmp_path: Path) -> None:
    built = build(synthetic_frame.write(tmp_path / "toy", toy().iloc[:0], None, META))
    assert "There are no trials in these results." in built.report.read_text()
    bare = build(synthetic_frame.write(tmp_path / "redundancy_ablation", pd.DataFrame(), None, synthetic_frame.about()))
    assert "Omitted" in bare.report.read_text()


@svg_alone()
def test_one_part_only_leaves_the_others_tables_out(tmp_path: Path) -> None:
    """A run with `--only` of one part: its tables stand, the rest is named in the report."""
    trials, curves = synthetic_frame.frames()
    folder = tmp_path / "redundancy_ablation"
    built = build(synthetic_frame.write(folder, trials[trials.part == "sret"], curves, synthetic_frame.about()))
    assert {f.stem for f in built.tables} == {
        "redundancy",
        "recursion_by_slices",
        "against_the_papers",
        "claims",
        "claim_tests",
    }
    assert {f.stem for f in built.figures} == {"slices_by_recursion", "pareto", "effects"}
    report = built.report.read_text()
    for name in ("table stabilizer_by_pause", "figure capacity", "figure stabilizer_curves", "figure active_tokens"):
        assert f"<li>{name}: no " in report


@svg_alone()
def test_only_the_csv(tmp_path: Path) -> None:
    """A frame from a repository: CSV without metadata and curves."""
    trials, _ = synthetic_frame.frames()
    built = build(synthetic_frame.write(tmp_path / "redundancy_ablation", trials))
    assert len(built.tables) == 24
    assert {f.stem for f in built.figures} == {"capacity", "slices_by_recursion", "pareto", "effects"}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = synthetic_frame.write(tmp_path / "toy@gpu", toy(), None, META)
    assert main(["toy@gpu", "--results", str(tmp_path)]) == 0
    assert "results.tex" in capsys.readouterr().out
    assert main([str(folder)]) == 0
    assert "unchanged" in capsys.readouterr().out
    assert main(["nowhere", "--results", str(tmp_path)]) == 2
    assert "no results here" in capsys.readouterr().err
    assert json.loads((folder / "tables" / ".rendered.json").read_text())["outputs"]


@svg_alone()
def test_hundreds_of_arms_stay_readable(tmp_path: Path) -> None:
    """Every arm in the table, the best forty in the figure."""
    arms = pd.concat([toy(1).assign(arm=f"a={i}", baseline=i == 0, **{"axis.size": str(i)}) for i in range(90)])
    arms = arms.groupby("arm", sort=False).head(1)
    arms["metric.loss"] = range(len(arms))
    built = build(synthetic_frame.write(tmp_path / "toy", arms, None, META))
    table = (tmp_path / "toy" / "tables" / "results.csv").read_text()
    assert sum(line.startswith(("size ", "baseline")) for line in table.splitlines()) == 90
    assert "size 39: 39." in built.report.read_text()
    assert "size 40: 40." not in built.report.read_text()


@pytest.mark.parametrize(
    "name", ["trials.csv", "predictions.npz", "plan.json", ".mirror.json", "tables/.rendered.json", "maps/0.npz"]
)
def test_nothing_waits_for_a_pipe(tmp_path: Path, name: str) -> None:
    """A pipe in the place of a file, or JSON that is nested without end, is as no file."""
    folder = synthetic_frame.study(tmp_path / "redundancy_ablation")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert len(RenderCache.of(folder, None).inputs["trials.parquet"]) == 64
    if name.endswith(".json"):
        (folder / name).unlink()
        (folder / name).write_text('{"a":' * 100_000)
        assert len(RenderCache.of(folder, None).inputs["runs"]) == 64
