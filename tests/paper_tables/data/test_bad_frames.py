"""Frames as they should not be: a sensible table, or an error that says what is wrong; never a wrong number."""

from __future__ import annotations

import copy
import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import synthetic_cost
import synthetic_frame
from fast_drawing import svg_alone
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from paper_tables import build, table_file
from paper_tables.core.errors import TableError
from paper_tables.core.text import from_csv, to_csv
from paper_tables.data.load import REQUIRED, load_frame, tidy_frame
from paper_tables.site.default_spec import default_spec
from paper_tables.site.index import write_index
from paper_tables.tables.labels import Names
from studies.engine.results.frame_io import csv_text

COMPARED = Path(__file__).parents[1] / "support" / "compared.yaml"
NASTY = r"50% & $x_1$ #{a}~b^c \input{x} <é> 漢| “q” µ"


def made(folder: Path, trials: pd.DataFrame, spec: Path = COMPARED) -> dict[str, str]:
    """Every table as Markdown, the report as text."""
    synthetic_cost.study(folder.parent / "cost")
    _, curves = synthetic_frame.frames()
    with svg_alone():
        built = build(synthetic_frame.write(folder, trials, curves, synthetic_frame.about()), spec)
    texts = {file.stem: file.read_text(encoding="utf-8") for file in built.tables if file.suffix == ".md"}
    for file in built.tables:
        assert not re.search(r"(?<![\w.])nan(?![\w.])", file.read_text(encoding="utf-8"), re.IGNORECASE)
    return texts | {"report": built.report.read_text(encoding="utf-8")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "redundancy_ablation"


@pytest.fixture
def trials() -> pd.DataFrame:
    return synthetic_frame.frames()[0]


def test_missing_arms(folder: Path, trials: pd.DataFrame) -> None:
    """Some arms, and a whole part, are not in the frame: dashes, and claims that are not run."""
    texts = made(folder, trials[(trials.part != "mor_vit") & (trials.arm != "recursion=1")])
    assert "| SReT-T one pass | ours |  | — | — | — |" in texts["models"]
    assert "| MoR-ViT | ImageNet-1K headline |  |" in texts["models"]
    lines = texts["claims"].splitlines()
    recursion = next(line for line in lines if "recursion alone" in line)
    assert recursion.startswith("| not run |")
    assert "no such arm in these results" in texts["claim_tests"]
    assert next(line for line in lines if "up to 2.0 times" in line).startswith("| **reproduced** |")  # by study cost
    assert "figure capacity" in texts["report"]


def test_missing_arms_of_the_committed_file(folder: Path, trials: pd.DataFrame) -> None:
    texts = made(folder, trials[trials.arm != "baseline"], table_file("redundancy_ablation") or COMPARED)
    assert "the part has no baseline" in "".join(texts.values()) or "no such trial" in texts["report"]


def test_one_seed_only(folder: Path, trials: pd.DataFrame) -> None:
    texts = made(folder, trials[trials.seed == 0])
    assert "±" not in texts["models"].partition("\n- ")[0].replace("± 95", "")
    tests = texts["claim_tests"].splitlines()
    assert "n = 1: no interval below 3" in texts["claim_tests"]
    assert next(line for line in texts["claims"].splitlines() if "recursion alone" in line).startswith("| undecided |")
    assert next(line for line in tests if "saved against SReT, slices none" in line).startswith("| **reproduced** |")
    texts = made(folder.parent / "plain" / "redundancy_ablation", trials[trials.seed == 0], table_file(folder.name))
    assert "not tested (fewer than 3 pairs" in texts["redundancy"]


def test_all_failed(folder: Path, trials: pd.DataFrame) -> None:
    texts = made(folder, trials.assign(status="failed"))
    assert "28.3" in texts["models"]
    assert "96." not in texts["models"].replace("96.2", "")
    assert texts["claims"].count("| not run |") == 2
    assert texts["claims"].count("| undecided |") == 3
    assert "3 of 3 trials of sret baseline failed or diverged" in texts["claim_tests"]
    assert "no trial has finished" in texts["report"] or "no finished trial" in texts["report"]
    assert "table narrow: neither a published nor a measured number" in texts["report"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_metrics_that_are_no_numbers(value: float, folder: Path, trials: pd.DataFrame) -> None:
    trials.loc[trials.part == "sret", "metric.top1"] = value
    trials.loc[(trials.part == "tpc_vit") & (trials.seed == 1), "metric.top1"] = value
    texts = made(folder, trials)
    assert "no finite top1 in sret baseline" in texts["claim_tests"]
    assert "n = 2 of 3 trials" in texts["narrow"]
    assert "top1 has no finite value in 3 of 3 finished trials" in texts["report"]
    assert "inf" not in texts["models"].partition("\n- ")[0].replace("Finetune", "")


def test_a_metric_that_some_arms_only_have_is_no_gap(folder: Path, trials: pd.DataFrame) -> None:
    trials.loc[trials.part == "sret", "metric.active_share"] = math.nan
    trials.loc[(trials.part == "tpc_vit") & (trials.seed == 1), "metric.active_share"] = math.nan
    report = made(folder, trials)["report"]
    assert "active_share has no finite value in 1 of 3 finished trials" in report
    assert "active_share has no finite value in 3 of 3 finished trials" not in report


def test_a_metric_the_frame_does_not_know(folder: Path, trials: pd.DataFrame) -> None:
    spec = folder.parent / "t.yaml"
    spec.write_text(
        "study: redundancy_ablation\ntables:\n"
        "  - name: t\n    columns: [{metric: flops}, {metric: jitter(val.top5)}]\n"
        "    rows: [{label: a, measured: {part: sret}}]\n"
        "claims:\n  - {name: c, text: t, paper: p, conditions: [{metric: flops, of: {part: sret}, at_least: 1}]}\n"
    )
    with pytest.raises(TableError) as caught:
        made(folder, trials, spec)
    assert str(caught.value).splitlines() == [
        f'{spec}:4:16  tables[0].columns[0].metric: the results have no metric "flops", did you mean "gflops"?',
        f'{spec}:4:33  tables[0].columns[1].metric: the results have no metric "jitter(val.top5)": no curve val.top5, '
        'did you mean "val.top1"?',
        f'{spec}:7:48  claims[0].conditions[0].metric: the results have no metric "flops", did you mean "gflops"?',
        "3 errors",
    ]


def test_special_characters_everywhere(folder: Path, trials: pd.DataFrame) -> None:
    """Names of parts' levels, arms, studies, devices; labels and reasons of a table file; then LaTeX itself."""
    trials = trials.replace({"axis.slices": {"half": NASTY}, "arm": {"slices=half": NASTY}})
    trials["env.gpu"] = NASTY
    about = synthetic_frame.about()
    about["title"] = NASTY
    about["parts"][0]["axes"][1]["levels"][1] = NASTY
    _, curves = synthetic_frame.frames()
    quoted = "'" + NASTY.replace("$x_1$", r"x_1") + "'"
    caption = quoted.replace("{a}", "{ a}").replace("{x}", "{ x}")  # a name alone in braces would be a place to fill
    spec = folder.parent / "t.yaml"
    spec.write_text(
        f"study: redundancy_ablation\ntables:\n  - name: t\n    caption: {caption}\n    method: {quoted}\n"
        "    columns: [{text: setting}, {metric: top1, published: top1}]\n"
        f"    rows:\n      - {{label: {quoted}, group: {quoted}, measured: {{part: sret, slices: '{NASTY}'}},\n"
        f"         words: {{setting: {quoted}}}, published: {{file: sret, where: {{variant: SReT_T}}}},\n"
        f"         incomparable: [{{metrics: top1, why: {quoted}}}]}}\n"
        f"claims:\n  - {{name: c, text: {quoted}, paper: {quoted}, where: {quoted}, note: {quoted},\n"
        f"     conditions: [{{metric: top1, of: {{slices: '{NASTY}'}}, against: {{part: sret}}, at_least: 0}}]}}\n",
        encoding="utf-8",
    )
    built = build(synthetic_frame.write(folder, trials, curves, about), spec)
    text = (folder / "tables" / "t.html").read_text(encoding="utf-8")
    assert "<é>" not in text
    assert built.tables
    write_index(folder.parent)
    assert "<é>" not in (folder.parent / "index.html").read_text(encoding="utf-8")
    if not shutil.which("pdflatex"):
        reason = "pdflatex is not installed here"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=folder.parent, capture_output=True, text=True, errors="replace", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def test_without_parquet_and_with_holes(folder: Path, trials: pd.DataFrame) -> None:
    """A CSV alone, with a column that has no number in it at all and one trial of another status."""
    trials["metric.gflops"] = np.nan
    trials.loc[trials.index[0], "status"] = "running"
    synthetic_frame.write(folder, trials)
    build(folder, COMPARED)
    text = (folder / "tables" / "models.md").read_text(encoding="utf-8")
    assert "n = 2 of 3 trials" in text


ODD = [[], {}, "x", 5, None, True, [1], [None], {"a": 1}, -1.5, 10**40, "\ud800"]
PLACES = [
    *((key,) for key in ("study", "title", "label", "scale", "metrics", "parts", "study_text")),
    ("metrics", "top1"),
    *(("metrics", "top1", key) for key in ("direction", "unit", "from")),
    ("parts", 0),
    *(("parts", 0, key) for key in ("name", "baseline", "axes")),
    ("parts", 0, "axes", 0),
    *(("parts", 0, "axes", 0, key) for key in ("name", "label", "levels", "baseline")),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_odd_metadata_is_text_or_an_error_that_names_its_key(place: tuple[Any, ...], trials: pd.DataFrame) -> None:
    for odd in ODD:
        about: Any = copy.deepcopy(synthetic_frame.about())
        inner = about
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = odd
        try:
            frame = tidy_frame(trials, pd.DataFrame(), about, Path("trials.parquet"))
        except TableError as error:
            message = str(error)
        else:
            names = Names(default_spec(frame), frame)
            texts = [names.arm(arm) + names.metric("top1").label for arm in frame.arms]
            assert "".join([*texts, frame.title, frame.label, frame.digest, frame.direction("top1")]).encode()
            continue
        assert message.startswith(f"trials.parquet  metadata.{place[0]}")


@pytest.mark.parametrize("about", [b"", b"[]", b"5", b"{", b'{"title": "\xe9"}', b"[" * 100_000, b'{"a":' * 50_000])
def test_metadata_that_is_no_object(about: bytes, folder: Path, trials: pd.DataFrame) -> None:
    folder.mkdir()
    table = pa.Table.from_pandas(trials, preserve_index=False).replace_schema_metadata({b"dynvit": about})
    parquet.write_table(table, folder / "trials.parquet")
    with pytest.raises(TableError, match=r"trials\.parquet  (cannot be read as a frame|metadata): "):
        load_frame(folder)


@pytest.mark.parametrize("seed", [None, "x", math.nan, math.inf, 1.5, [1], "1" + "0" * 30])
def test_seeds_that_are_no_whole_numbers(seed: object, trials: pd.DataFrame) -> None:
    with pytest.raises(TableError, match="a seed is no whole number"):
        tidy_frame(trials.assign(seed=[seed] * len(trials)), pd.DataFrame(), {})


def test_odd_curves(trials: pd.DataFrame) -> None:
    _, curves = synthetic_frame.frames()
    with pytest.raises(TableError, match="the curves lack a column of trial, step, metric, value"):
        tidy_frame(trials, curves.drop(columns="value"), {})
    for odd in (curves.assign(step="x"), curves.assign(metric=None), curves.assign(step=math.nan)):
        assert tidy_frame(trials, odd, {}).curve_metrics() == []


FORMULAS = ["@SUM(1+1)", "+1-cmd|' /C calc'!A0", "=1+1", "-2+3", "\t=1", "＝1", "'=1", "''@x"]
TEXTS = ["=", "-", "'it", "-1e-3", "#1"]


def test_formulas_in_the_frames_csv_are_escaped_and_read_back(tmp_path: Path) -> None:
    row = dict.fromkeys(REQUIRED, "") | {"seed": 0, "baseline": False, "status": "done"}
    rows = [row | {"arm": text, "axis.a": text, "metric.top1": -1.5} for text in FORMULAS + TEXTS]
    (tmp_path / "trials.csv").write_text(csv_text(rows), encoding="utf-8", newline="")
    frame = load_frame(tmp_path)
    assert frame.rows["arm"].tolist() == frame.rows["axis.a"].tolist() == FORMULAS + TEXTS
    assert set(frame.rows["metric.top1"]) == {-1.5}
    raw = pd.read_csv(tmp_path / "trials.csv", dtype=str, keep_default_na=False)["arm"]
    assert [text for text in raw if re.match(r"[=+\-@\t＝]", text)] == ["=", "-", "-1e-3"]


@given(st.text())
def test_any_text_comes_back_from_a_csv(text: str) -> None:
    assert from_csv(to_csv(text)) == text
    assert to_csv(text)[:1] not in tuple("@\t\r＝＋－＠")


def test_formulas_in_written_tables(folder: Path, trials: pd.DataFrame) -> None:
    label = "@SUM(A1) #2"
    trials = trials.replace({"axis.slices": {"half": label}})
    about = synthetic_frame.about()
    about["parts"][0]["axes"][1]["levels"][1] = label
    spec = folder.parent / "t.yaml"
    spec.write_text(
        "study: redundancy_ablation\ntables:\n  - {name: t, rows: {block: one_at_a_time, item: level},\n"
        "     columns: [{metric: top1, show: paired_difference}]}\n"
    )
    build(synthetic_frame.write(folder, trials, None, about), spec)
    table = pd.read_csv(folder / "tables" / "t.csv", comment="#")
    assert "'" + label in set(table["Setting"])
    assert pd.to_numeric(table.iloc[:, 3], errors="coerce").notna().sum() > 10
    origins = pd.read_csv(folder / "origins.csv")
    assert not origins["row"].str.match(r"[=+\-@]").any()
