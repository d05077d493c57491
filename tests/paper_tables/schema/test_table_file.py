"""A wrong table file: every fault at once, each with its place and what would be right."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_frame

from paper_tables import build, table_file
from paper_tables.core.errors import TableError
from paper_tables.data.frame import Frame
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file
from paper_tables.validate.table_file import check

GOOD = """\
study: redundancy_ablation
tables:
  - name: one
    rows: {block: one_at_a_time, group: [part], item: level}
    columns:
      - {metric: top1, show: mean_sd}
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    return load_frame(synthetic_frame.study(tmp_path_factory.mktemp("frame")))


def faults(text: str, results: Frame, tmp_path: Path) -> list[str]:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        check(*read_table_file(path, "t.yaml"), StudyFrames(tmp_path, results))
    return str(caught.value).splitlines()


def test_the_studys_own_file_is_right(results: Frame) -> None:
    path = table_file("redundancy_ablation@gpu")
    assert path is not None
    check(*read_table_file(path), StudyFrames(path.parent, results))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("show: mean_sd", "shwo: mean_sd", 't.yaml:6:24  tables[0].columns[0].shwo: unknown key, did you mean "show"?'),
        ("metric: top1", "metric: topl", 't.yaml:6:10  tables[0].columns[0].metric: the results have no metric "topl", did you mean "top1"?'),
        ("tables:", "table:", 't.yaml:2:1  table: unknown key, did you mean "tables"?'),
        ("item: level", "item: row", "t.yaml:4:49  tables[0].rows.item: input should be 'level', 'arm', 'part' or 'name'"),
        ("    columns:\n      - {metric: top1, show: mean_sd}\n", "", "t.yaml:3:5  tables[0].columns: is missing"),
        ("study: redundancy", "study: redundant", 't.yaml:1:1  study: is "redundant_ablation", the results are of "redundancy_ablation"'),
        ("name: one", "name: one\n    name: two", "t.yaml:4:5  tables[0].name: is defined twice (first in line 3)"),
        ("name: one", "name: ../one", "t.yaml:3:5  tables[0].name: string should match pattern '^[A-Za-z0-9_-]+$'"),
        ("name: one", "name: one\n    filter: {part: mor}", 't.yaml:4:14  tables[0].filter.part: the study has no part "mor", did you mean "mor_vit"?'),
        ("name: one", "name: one\n    filter: {capacity: 0.7}", 't.yaml:4:14  tables[0].filter.capacity: the axis capacity has no level "0.7", did you mean "0.75"?'),
        ("name: one", "name: one\n    filter: {depth: 2}", 't.yaml:4:14  tables[0].filter.depth: the study has no axis "depth"; known: recursion, slices, routing, capacity, pause, smoothing, stabilizer'),
        ("name: one", "name: one\n    notes: [sedes]", 't.yaml:4:13  tables[0].notes[0]: "sedes" is no known note, did you mean "seeds"?'),
        ("show: mean_sd", "published: top1", "t.yaml:6:9  tables[0].columns[0]: needs either `metric` or `published`"),
    ],
)  # fmt: skip
def test_one_fault(old: str, new: str, line: str, results: Frame, tmp_path: Path) -> None:
    assert old in GOOD
    assert faults(GOOD.replace(old, new, 1), results, tmp_path) == [line]


def test_published_numbers_must_exist(results: Frame, tmp_path: Path) -> None:
    text = (
        GOOD
        + """\
      - {published: topp1}
    published:
      sret: {file: srett, where: {variant: SReT_T}}
      mor_vit: {file: mor_vit, where: {variant: nothing like it}}
      tpc_vit: {file: tpc_vit, where: {backbon: DeiT-S}}
"""
    )
    assert faults(text, results, tmp_path) == [
        't.yaml:7:10  tables[0].columns[1].published: no published column "topp1", did you mean "top1"?',
        't.yaml:9:14  tables[0].published.sret.file: there is no published/srett.csv, did you mean "sret"?',
        "t.yaml:10:32  tables[0].published.mor_vit.where: no row of published/mor_vit.csv matches",
        't.yaml:11:32  tables[0].published.tpc_vit.where: no column "backbon", did you mean "backbone"?',
        "4 errors",
    ]


def test_not_comparable_needs_its_reason(results: Frame, tmp_path: Path) -> None:
    text = GOOD + "    published:\n      sret: {file: sret, where: {variant: SReT_T}, comparable: false}\n"
    assert "comparable: false, so `why` must name the difference" in faults(text, results, tmp_path)[0]


def test_figures_and_crossings(results: Frame, tmp_path: Path) -> None:
    text = """\
study: redundancy_ablation
tables:
  - name: cross
    rows: {axis: recursion}
    columns: {axis: slice, metric: top1}
figures:
  - {name: a, kind: lines, x: capacity, y: top1}
"""
    assert "did you mean" not in text
    assert faults(text, results, tmp_path)[0].startswith("t.yaml:7:5  figures[0]: input tag 'lines' found")
    found = faults(text.replace("kind: lines", "kind: line").replace("x: capacity", "x: capacities"), results, tmp_path)
    assert found == [
        "t.yaml:3:5  tables[0].filter: a table of two axes needs one part: filter: {part: …}",
        't.yaml:5:15  tables[0].columns.axis: the study has no axis "slice", did you mean "slices"?',
        't.yaml:7:27  figures[0].x: the study has no axis "capacities", did you mean "capacity"?',
        "3 errors",
    ]


@pytest.mark.parametrize("text", ["", "- 1\n", "study: [\n", "a: b: c\n", "\x00"])
def test_not_a_table_file(text: str, results: Frame, tmp_path: Path) -> None:
    assert faults(text, results, tmp_path)[0].startswith("t.yaml")


def test_yaml_1_2_words_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(
        "study: x\ntables:\n  - name: a\n    filter: {stabilizer: off, pause: true, lr: 1e-3, n: 010}\n"
        "    columns: [{metric: top1}]\n"
    )
    chosen = read_table_file(path)[0].tables[0].filter
    assert chosen == {"stabilizer": ("off",), "pause": ("true",), "lr": ("0.001",), "n": ("10",)}


def test_build_says_it_and_writes_nothing(tmp_path: Path) -> None:
    folder = synthetic_frame.study(tmp_path / "s")
    spec = tmp_path / "t.yaml"
    spec.write_text(GOOD.replace("top1", "topl"))
    with pytest.raises(TableError, match=r"t\.yaml:6:10 .*topl"):
        build(folder, spec)
    assert not (folder / "tables").exists()


@pytest.mark.parametrize("text", ["study: " + "[" * 3000, "study: &x [*x]"])
def test_too_deep_nesting_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    with pytest.raises(TableError, match=r"t\.yaml:1:\d+  is nested more than 64 levels deep"):
        read_table_file(path, "t.yaml")
