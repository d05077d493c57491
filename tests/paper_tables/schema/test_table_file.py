"""A wrong table file: every fault at once, each with its place and what would be right."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_frame

from paper_tables import build, table_file
from paper_tables.core.errors import TableError
from paper_tables.core.yaml_loader import load_yaml
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
        ("show: mean_sd", "head: 'MACs ({unt})'", 't.yaml:6:24  tables[0].columns[0].head: a head has no place for "unt", did you mean "unit"?'),
        ("tables:", "metrics: {params: {unit: '%'}}\ntables:", "t.yaml:2:20  metrics.params.unit: \"%\" is no unit of a count: give k, M, G or T, MACs or FLOPs, or both, as in GMACs"),
        ("tables:", "title: my study\ntables:", "t.yaml:2:1  title: unknown key; known: study, scales, parts, axes, metrics, tables, figures, claims"),
        ("show: mean_sd", "group: a", "t.yaml:6:24  tables[0].columns[0].group: unknown key; known: digits, interval, best, metric, published, head, over, show, mark, within, optional"),
        ("tables:", "figures: [{name: a, kind: dots, x: top1, panel: a}]\ntables:", "t.yaml:2:42  figures[0].panel: unknown key; known: name, kind, caption, width, height, filter, x"),
        ("tables:", "axes: {pause: {labl: a}}\ntables:", 't.yaml:2:16  axes.pause.labl: unknown key, did you mean "label"?'),
        ("item: level", "item: row", "t.yaml:4:49  tables[0].rows.item: \"row\" is not one of level, arm, part, name"),
        ("item: level", "item: levle", 't.yaml:4:49  tables[0].rows.item: "levle" is not one of level, arm, part, name, did you mean "level"?'),
        ("group: [part]", "group: part", 't.yaml:4:34  tables[0].rows.group: "part" is not a list'),
        ("name: one", "name: one\n    label: tab one", 't.yaml:4:5  tables[0].label: "tab one" is no label: letters A to Z, digits, : . _ - only'),
        ("name: one", "name: one\n    caption: 5", "t.yaml:4:5  tables[0].caption: 5 is not text"),
        ("name: one", "name: one\n    caption: '{m} of {title}, {n} seeds, $x_{i}$'", 't.yaml:4:5  tables[0].caption: the caption has no place for "m"; known: n, title'),
        ("tables:", "figures: [{name: a, kind: dots, x: top1, caption: '{n} seeds'}]\ntables:", 't.yaml:2:42  figures[0].caption: the caption has no place for "n"'),
        ("tables:", "figures: [{name: a, kind: curves, metric: val.topp1, panels: [{}]}]\ntables:", 't.yaml:2:35  figures[0].metric: the results have no metric "val.topp1", did you mean "val.top1"?'),
        ("tables:", "figures: [{name: a, x: top1}]\ntables:", "t.yaml:2:11  figures[0].kind: is missing"),
        ("tables:", "figures: [a]\ntables:", 't.yaml:2:11  figures[0]: "a" is not a mapping'),
        ("tables:", "\ttables:", "t.yaml:2:1  a tab; YAML is indented with spaces"),
        ("    columns:\n      - {metric: top1, show: mean_sd}\n", "", "t.yaml:3:5  tables[0].columns: is missing"),
        ("study: redundancy", "study: redundant", 't.yaml:1:1  study: is "redundant_ablation", the results are of "redundancy_ablation"'),
        ("name: one", "name: one\n    name: two", "t.yaml:4:5  tables[0].name: is defined twice (first in line 3)"),
        ("name: one", "name: ../one", "t.yaml:3:5  tables[0].name: \"../one\" is no name: letters A to Z, digits, _ - only"),
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


def test_every_metric_of_a_figure_must_exist(results: Frame, tmp_path: Path) -> None:
    text = "study: redundancy_ablation\nfigures:\n  - {name: a, kind: metrics, label: l, panels: [{metrics: {top1: a, topl: b}}]}\n"
    assert faults(text, results, tmp_path) == [
        't.yaml:3:50  figures[0].panels[0].metrics: the results have no metric "topl", did you mean "top1"?'
    ]


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
    assert faults(text, results, tmp_path)[0].startswith(
        't.yaml:7:15  figures[0].kind: "lines" is not one of line, scatter, forest, dots, metrics, ranks, curves, layers, '
    )
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


def numbered(lines: int, form: str, first: str = "") -> str:
    return first + "".join(form.format(i=i, before=i - 1) + "\n" for i in range(1, lines))


DEEP, MANY = "is nested more than 64 levels deep", "has more than 20000 entries"
TEN = "[" + ", ".join(["*a{before}"] * 10) + "]"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("study: " + "[" * 3000, f"t.yaml:1:71  {DEEP}"),
        ("study: " + "{a: " * 3000, f"t.yaml:1:257  {DEEP}"),
        ("- " * 3000, f"t.yaml:1:129  {DEEP}"),
        ("".join(" " * i + "a:\n" for i in range(500)), f"t.yaml:64:64  {DEEP}"),
        ("study: &x [*x]", f"t.yaml:1:8  {DEEP}"),
        ("study: &x {a: {b: *x}}", f"t.yaml:1:8  {DEEP}"),
        (numbered(12, f"a{{i}}: &a{{i}} {TEN}", "a0: &a0 [x]\n"), MANY),
        (numbered(40, "a{i}: &a{i} {{a: *a{before}, b: *a{before}}}", "a0: &a0 {a: x}\n"), MANY),
        (numbered(20001, "- {i}"), MANY),
        ("study: x\n" + "# no end\n" * 1_200_000, "t.yaml  is larger than 1 MB"),
        ("study: " + "9" * 5000, "t.yaml:1:8  is no int"),
        ("study: !!int x", "t.yaml:1:8  is no int"),
        ("study: !!float abc", "t.yaml:1:8  is no float"),
        ("study: !!bool maybe", "t.yaml:1:8  is no bool"),
        ("study: !!timestamp x", "t.yaml:1:8  must be a plain value, not timestamp"),
        ("study: !!python/object:os.system x", "t.yaml:1:8  must be a plain value, not python/object:os.system"),
        ("study: x\n? [a]\n: 1", "t.yaml:2:3  must be a plain value, not seq"),
        ('study: "\\ud800"', "t.yaml:1:8  contains a character that cannot be printed"),
        ('study: "\\0"', "t.yaml:1:8  contains a character that cannot be printed"),
        ('study: "\\U00110000"', "t.yaml:1:11  is no character"),
        ("study: x\nparts: \x01", "t.yaml:2:8  unacceptable character #x0001: special characters are not allowed"),
        ("study: *nope", "t.yaml:1:8  found undefined alias 'nope'"),
    ],
)
def test_a_file_without_end_or_sense_is_an_error_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as caught:
        read_table_file(path, "t.yaml")
    assert fault in str(caught.value)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_bytes("study: x\nparts: {é: {}}".encode("latin-1"))
    with pytest.raises(TableError, match=r"t.yaml:2:9  'utf-8' codec can't decode byte 0xe9"):
        read_table_file(tmp_path / "t.yaml", "t.yaml")


CLAIM = "claims:\n  - {name: a, text: t, paper: p, conditions: [{metric: top1, of: {part: sret}, %s}]}\n"


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (CLAIM % "at_least: 1e999", "claims[0].conditions[0].at_least: input should be a finite number"),
        (CLAIM % ("at_least: 1" + "0" * 400), "… is not a number"),
        (CLAIM % "between: [3]", "claims[0].conditions[0].between[1]: is missing"),
        (CLAIM % "at_least: 1, against: {study: []}", "against.study: needs at least one entry"),
        ("figures:\n  - {name: a, kind: curves, metric: x, panels: [" + "{}," * 30 + "]}\n", "at most 24 items"),
        ("figures:\n  - {name: " + "a" * 300 + ", kind: dots, x: top1}\n", "at most 100 characters"),
    ],
)
def test_numbers_and_names_without_measure(entry: str, fault: str, results: Frame, tmp_path: Path) -> None:
    assert fault in faults(GOOD + entry, results, tmp_path)[0]


@pytest.mark.parametrize("written", ["true", '"1"', "1.0"])
def test_digits_are_whole_numbers(written: str, results: Frame, tmp_path: Path) -> None:
    text = GOOD.replace("show: mean_sd", f"digits: {written}")
    assert faults(text, results, tmp_path) == [
        f"t.yaml:6:24  tables[0].columns[0].digits: {written} is not a whole number"
    ]


@pytest.mark.parametrize("written", ["true", '"0"'])
def test_bounds_are_numbers(written: str, results: Frame, tmp_path: Path) -> None:
    for bound in (f"at_least: {written}", f"between: [{written}, 5]", f"at_least: 1, tolerance: {written}"):
        assert f"{written} is not a number" in faults(GOOD + CLAIM % bound, results, tmp_path)[0]


@pytest.mark.parametrize("written", ["1", '"true"', "yes"])
def test_flags_are_true_or_false(written: str, results: Frame, tmp_path: Path) -> None:
    found = faults(GOOD.replace("show: mean_sd", f"optional: {written}"), results, tmp_path)
    shown = f'"{written}"' if written.isalpha() else written
    assert found == [f"t.yaml:6:24  tables[0].columns[0].optional: {shown} is not true or false"]


def test_a_margin_below_is_for_what_is_better_when_higher(results: Frame, tmp_path: Path) -> None:
    """`non_inferior` of a loss would let everything pass that is worse."""
    text = GOOD + CLAIM % "against: {part: mor_vit}, non_inferior: 2"
    (tmp_path / "right.yaml").write_text(text)
    check(*read_table_file(tmp_path / "right.yaml"), StudyFrames(tmp_path, results))
    assert faults(text.replace("metric: top1, of", "metric: seconds, of"), results, tmp_path) == [
        "t.yaml:8:109  claims[0].conditions[0].non_inferior: is at most so much below, and of seconds lower is better: "
        "give at_most: 2"
    ]


def test_a_whole_number_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(GOOD + CLAIM % "between: [0, 1], interval: 0.9, digits: 2")
    assert read_table_file(file)[0].claims[0].conditions[0].region() == (0, 1)


@pytest.mark.parametrize(
    "metric",
    [
        "at(" + " " * 20_000,
        "at(val.top1, 1.2.3)",
        "at( )",
        "last(val.top1, 0)",
        "best(val.top1, 0.5)",
        "last(val.top1, 0.5)",
        "first(val.top1, 0.5)",
        "change(val.top1, 0.5)",
    ],
)
def test_metrics_that_are_no_calls(metric: str, results: Frame, tmp_path: Path) -> None:
    assert "the results have no metric" in faults(GOOD.replace("top1", f"'{metric}'"), results, tmp_path)[0]


@pytest.mark.parametrize(
    ("metric", "hint"),
    [
        ("bst(val.top1)", ': of curves there are jitter, best, last, first, mean, at, change, did you mean "best"?'),
        ("best(val.topp1)", ': no curve val.topp1, did you mean "val.top1"?'),
        ("at(val.top1, 3)", ": at(CURVE, SHARE) takes a share of the training above 0, at most 1"),
        ("last(val.top1, 0.5)", ": last takes the curve alone"),
        ("best(val.top1", ": best(CURVE) ends with a bracket"),
    ],
)
def test_a_slip_in_a_metric_of_a_curve_is_named(metric: str, hint: str, results: Frame, tmp_path: Path) -> None:
    found = faults(GOOD.replace("top1", f"'{metric}'"), results, tmp_path)
    assert found == [f't.yaml:6:10  tables[0].columns[0].metric: the results have no metric "{metric}"{hint}']


def test_one_mapping_takes_over_from_another(tmp_path: Path) -> None:
    """By YAML's merge key; its own keys come first, wherever they stand, and errors have the line of the anchor."""
    file = tmp_path / "t.yaml"
    file.write_text("a: &one {x: 1, y: 2}\nb: {y: 3, <<: *one}\n")
    document = load_yaml(file)
    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.fault(("b", "x"), "").line == 1
    assert document.fault(("b", "y"), "").line == 2
    file.write_text("a: 1\nb: {<<: [1]}\n")
    with pytest.raises(TableError, match=r"t.yaml:2:9 .*must be one mapping"):
        load_yaml(file)
