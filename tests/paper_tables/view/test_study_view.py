"""Objects in Python show the numbers of the written tables, and wrong names get the nearest right ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic_frame

from paper_tables import build
from paper_tables.core.errors import TableError
from paper_tables.core.text import from_csv
from paper_tables.view.study import StudyView

EXAMPLE = Path(__file__).parents[3] / "results" / "example" / "redundancy_ablation"


@pytest.fixture(scope="module")
def example() -> StudyView:
    return StudyView(EXAMPLE)


def written(name: str) -> list[dict[str, str]]:
    lines = (EXAMPLE / "tables" / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_a_comparison_has_the_numbers_of_the_table(example: StudyView) -> None:
    """Every difference in the committed table: its value, its interval, its p, its n."""
    table = example.table("redundancy").data
    differences = written("redundancy")
    arms = [a for a in example.study.library.own.arms if not a.baseline]
    compared = 0
    for printed, (_, row) in zip(differences, table.iterrows(), strict=True):
        if printed["Δ top-1"] == "ref.":
            continue
        arm = next(
            a for a in arms if row["Δ top-1"] == pytest.approx(example.compare(f"{a.part} {a.label}").difference)
        )
        found = example.compare(f"{arm.part} {arm.label}")
        assert f"{found.difference:+.2f}" == printed["Δ top-1"]
        assert f"{(found.high - found.low) / 2:.2f}" == printed["Δ top-1 ± 95 % CI"]
        assert f"{found.p_holm:.4g}" == printed["Δ top-1 p (Holm)"]
        assert found.n == len(found.data) <= int(printed["n"])
        compared += 1
    assert compared == 16


def test_a_comparison_by_hand(example: StudyView) -> None:
    rows = example.frame
    sides = [
        rows[(rows.part == "sret") & (rows.arm == arm)].set_index("seed")["metric.top1"]
        for arm in ("recursion=1", "baseline")
    ]
    pairs = (sides[0] - sides[1]).dropna()
    found = example.compare({"recursion": 1})
    assert found.n == len(pairs)
    assert found.difference == pytest.approx(pairs.mean())
    assert found.data["difference"].to_numpy() == pytest.approx(pairs.sort_index().to_numpy())
    assert found.low < found.difference < found.high


def test_a_difference_of_no_table_is_not_corrected(example: StudyView) -> None:
    found = example.compare("recursion=3, slices=none", against="slices=none")
    assert found.p is not None and found.p_holm is None and not found.significant
    assert "not among the 19 differences" in repr(found)


def test_other_levels_and_metrics(example: StudyView) -> None:
    assert example.compare("recursion=1", "recursion=3").against == "sret recursion=3"
    assert example.compare("sret.recursion=1").arm == "sret recursion=1"
    cheaper = example.compare("capacity=0.25", metric="gflops")
    assert cheaper.difference < 0 and cheaper.low is None and "no spread" in repr(cheaper)
    assert "n = 5 (tpc_vit baseline has 20)" in example.compare("stabilizer=off")._repr_html_()
    early = example.compare("stabilizer=off", metric="at(val.top1, 0.5)")
    assert early.difference < 0


@pytest.mark.parametrize(
    ("arm", "more", "text"),
    [
        ("recursoin=1", {}, 'no axis recursoin, did you mean "recursion"?'),
        ("recursion=9", {}, "recursion: no 9; known: 1, 2, 3"),
        ("slices=hlf", {}, 'slices: no hlf, did you mean "half"?'),
        ("baseline", {}, '"baseline" is an arm of 3 parts: write "sret baseline" or'),
        ("part=sert, recursion=1", {}, 'part: no sert, did you mean "sret"?'),
        ("recursion=1=2,", {}, "recursion: no 1=2"),
        ("recursion=1, slices", {}, '"slices" is not AXIS=LEVEL'),
        ("nonsense", {}, 'no arm "nonsense"; `arms` lists them'),
        ("sret baseline", {}, "sret baseline is the baseline: name another arm in against="),
        ("recursion=1", {"against": "sret recursion=1"}, "is compared with itself"),
        ("recursion=1", {"metric": "top"}, 'no metric top, did you mean "top1"?'),
        ("recursion=1, capacity=0.25", {}, "no arm with recursion=1, capacity=0.25"),
    ],
)
def test_wrong_names(example: StudyView, arm: str, more: dict[str, str], text: str) -> None:
    with pytest.raises(TableError) as error:
        example.compare(arm, **more)
    assert text in str(error.value)


@pytest.mark.parametrize("level", [95, 0, 1, -1, float("nan"), True, "0.95", None])
def test_a_level_is_a_share(example: StudyView, level: Any) -> None:
    with pytest.raises(TableError, match=r"level=.*: the interval's share, between 0 and 1, such as 0.95"):
        example.compare("recursion=1", level=level)


def test_what_is_no_name_at_all(example: StudyView) -> None:
    wrong: list[Any] = [5, None, ["recursion=1"]]
    for arm in wrong:
        with pytest.raises(TableError, match="is no arm: give its label"):
            example.compare(arm)
    for metric in (5, ["top1"]):
        with pytest.raises(TableError, match="no metric"):
            example.compare("recursion=1", metric=metric)  # type: ignore[arg-type]


def test_a_table_as_data(example: StudyView) -> None:
    data = example.table("redundancy").data
    printed = written("redundancy")
    assert list(data["Part"]) == [row["Part"] for row in printed]
    assert list(data["Factor"]) == [row["Factor"] for row in printed]
    assert list(data["n"].astype(str)) == [row["n"] for row in printed]
    assert [f"{value:.2f}" for value in data["Top-1 (%)"]] == [row["Top-1 (%)"] for row in printed]
    assert data["Δ top-1 p"].notna().sum() == sum(bool(row["Δ top-1 p (Holm)"]) for row in printed) == 16
    assert data.dtypes["Δ top-1"] == np.float64


@pytest.mark.parametrize("ending", ["tex", "md", "csv"])
def test_formats_are_the_written_ones(example: StudyView, ending: str) -> None:
    table = example.table("stabilizer_by_pause")
    text = {"tex": table.latex, "md": table.markdown, "csv": table.csv}[ending]
    assert text == (EXAMPLE / "tables" / f"stabilizer_by_pause.{ending}").read_text(encoding="utf-8")


def test_every_table_of_the_example_becomes_data_and_html() -> None:
    for folder in sorted(path.parent for path in EXAMPLE.parent.glob("*/trials.csv")):
        view = StudyView(folder)
        assert view.tables
        for name in view.tables:
            table = view.table(name)
            assert len(table.data) == len(table.grid.rows)
            assert not table.data.columns.duplicated().any()
            assert table._repr_html_().count("<tr") >= len(table.data)


def test_html_stays_in_the_notebook(example: StudyView) -> None:
    for shown in (example, example.table(), example.compare("recursion=1"), example.claims(), example.figure("pareto")):
        text = shown._repr_html_()
        assert text.startswith('<div class="dynvit">') and text.endswith("</div>")
        assert "href" not in text and "http" not in text.replace("http://www.w3.org", "")
        assert "body{" not in text


def test_figures(example: StudyView, tmp_path: Path) -> None:
    figure = example.figure("pareto")
    assert figure.save(tmp_path / "p.svg").read_bytes() == figure.svg == example.figure("pareto").svg
    assert figure.png.startswith(b"\x89PNG") and figure.pdf.startswith(b"%PDF")
    with pytest.raises(TableError, match="figures are saved as pdf, svg, png"):
        figure.save(tmp_path / "p.bmp")
    live = figure.matplotlib()
    live.axes[0].set_title("mine")
    live.savefig(tmp_path / "mine.png")
    assert (tmp_path / "mine.png").stat().st_size > 10_000
    with pytest.raises(TableError, match='no figure "paretto", did you mean "pareto"'):
        example.figure("paretto")
    with pytest.raises(TableError, match='no table "redundncy", did you mean "redundancy"'):
        example.table("redundncy")


def test_a_notebooks_own_figures_are_left_alone(example: StudyView) -> None:
    import matplotlib.pyplot as plt

    mine, backend, size = plt.figure(), plt.get_backend(), plt.rcParams["font.size"]
    example.figure("effects").matplotlib()
    assert plt.get_fignums() == [mine.number] and plt.get_backend() == backend
    assert plt.rcParams["font.size"] == size
    plt.close(mine)


def test_claims(example: StudyView) -> None:
    claims = example.claims()
    rows = [row for row in csv.DictReader((EXAMPLE.parent / "claims.csv").open()) if row["study"] == EXAMPLE.name]
    assert dict(zip(claims.data["name"], claims.data["verdict"], strict=True)) == {
        r["name"]: r["verdict"] for r in rows
    }
    assert sum(claims.counts.values()) == len(claims) == 5
    assert set(claims.tests["measured"]) == {from_csv(row["measured"]) for row in rows}
    assert (claims.tests["low"] <= claims.tests["estimate"]).all()


def test_arms_and_curves(example: StudyView) -> None:
    arms, rows = example.arms, example.frame
    assert arms["n"].sum() == (rows["status"] == "done").sum()
    one = rows[(rows.part == "sret") & (rows.arm == "baseline")]["metric.top1"]
    first = arms.iloc[0]
    assert (first["top1"], first["top1_sd"]) == pytest.approx((one.mean(), one.std()))
    assert first["top1_low"] < first["top1"] < first["top1_high"]
    curves = example.curves
    last = curves[(curves.metric == "val.top1") & (curves.arm == "recursion=1")].groupby("seed")["step"].max()
    assert len(last) == 20 and set(curves.columns) == {"part", "arm", "seed", "trial", "metric", "step", "value"}


def test_n_of_a_metric_that_some_trials_lack(tmp_path: Path) -> None:
    trials = synthetic_frame.frames()[0]
    trials.loc[0, "metric.top1"] = np.nan
    arms = StudyView(synthetic_frame.write(tmp_path / "mine", trials)).arms
    assert arms.loc[0, ["n", "top1_n"]].tolist() == [3, 2]
    assert "gflops_n" not in arms


def test_a_study_without_a_table_file(tmp_path: Path) -> None:
    view = StudyView(synthetic_frame.study(tmp_path / "mine"))
    assert view.tables == ["results"] and view.compare("recursion=1").n == 3
    assert "has no claims" in repr(view.claims()) and "has no claims" in view.claims()._repr_html_()


def test_below_three_seeds_and_unfinished(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "two", seeds=2)
    found = StudyView(folder).compare("recursion=1")
    assert found.n == 2 and found.low is None and found.p is None
    assert "no interval below three pairs" in repr(found) and "no interval" in found._repr_html_()
    rows = pd.read_parquet(folder / "trials.parquet")
    rows.loc[rows["arm"] == "recursion=1", "status"] = "failed"
    for file in folder.iterdir():
        file.unlink()
    rows.to_csv(folder / "trials.csv", index=False)
    with pytest.raises(TableError, match="sret recursion=1 has no top1 yet: 2 failed"):
        StudyView(folder).compare("recursion=1")


def test_the_view_is_what_is_built(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "mine")
    build(folder)
    assert StudyView(folder).table().latex == (folder / "tables" / "results.tex").read_text(encoding="utf-8")
    assert StudyView(folder).figure().svg == (folder / "figures" / "arms.svg").read_bytes()
