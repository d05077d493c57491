"""Comparisons: golden text, sources of numbers, gray cells, missing numbers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import synthetic_cost
import synthetic_frame

from paper_tables import build
from paper_tables.core.errors import TableError
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file
from paper_tables.schema.tables import ComparisonTable
from paper_tables.tables.grid import Cell, Grid, NoData
from paper_tables.tables.labels import Names
from paper_tables.tables.table import build as build_table

SPEC = Path(__file__).parents[1] / "support" / "compared.yaml"
GOLDEN = Path(__file__).parents[2] / "golden" / "paper_tables"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both studies, made once: each test works on a copy."""
    folder = tmp_path_factory.mktemp("studies")
    synthetic_cost.study(folder / "cost")
    synthetic_frame.study(folder / "redundancy_ablation")
    return folder


@pytest.fixture
def results(studies: Path, tmp_path: Path) -> Path:
    shutil.copytree(studies, tmp_path, dirs_exist_ok=True)
    return tmp_path / "redundancy_ablation"


@pytest.fixture(scope="module")
def built(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every table of the file, built once for all golden files; drawing the figures is most of it."""
    folder = tmp_path_factory.mktemp("built") / "results"
    shutil.copytree(studies, folder)
    build(folder / "redundancy_ablation", SPEC)
    return folder / "redundancy_ablation" / "tables"


NAMES = ("models", "narrow", "claims", "claim_tests")


@pytest.mark.parametrize("file", [f"{name}.{ending}" for name in NAMES for ending in ("tex", "md", "csv")])
def test_as_before(file: str, built: Path) -> None:
    data = (built / file).read_bytes()
    golden = GOLDEN / file
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_bytes(data)
    assert data.decode() == golden.read_text(encoding="utf-8")


def grid(folder: Path, rows: str, columns: str = "[{metric: top1, published: top1}]", more: str = "") -> Grid:
    spec, _ = read_table_file(_file(folder, rows, columns, more))
    library = StudyFrames(folder, load_frame(folder))
    table = spec.tables[0]
    assert isinstance(table, ComparisonTable)
    return build_table(table, Names(spec, library.own), library)


def _file(folder: Path, rows: str, columns: str, more: str) -> Path:
    path = folder / "t.yaml"
    path.write_text(f"study: redundancy_ablation\ntables:\n  - {{name: t, columns: {columns}, rows: [{rows}]{more}}}\n")
    return path


def cells(made: Grid, row: int = 0) -> dict[str, Cell]:
    return {f"{h.over} {h.text}".strip(): c for h, c in zip(made.heads, made.rows[row].cells, strict=True)}


def test_the_first_selection_that_has_the_metric_is_taken(results: Path) -> None:
    row = "{label: a, measured: [{study: cost, model: sret_tiny}, {part: sret}]}"
    made = cells(grid(results, row, "[{metric: params_m, digits: 2}, {metric: top1}]"))
    assert (made["Params"].value, made["Params"].study, made["Params"].n) == (4.76, "cost", 1)
    assert (made["Top-1"].study, made["Top-1"].n) == ("", 3)
    assert made["n"].text == "3"
    assert made["Params"].trials == ("cost00000000",)


def test_equal_after_rounding(results: Path) -> None:
    rows = ", ".join(
        f"{{label: a, published: {{file: sret, where: {{variant: SReT_T}}}}, measured: {{study: cost, model: {m}}}}}"
        for m in ("sret_tiny", "deit_tiny")
    )
    made = grid(results, rows, "[{metric: params_m, published: params_m}]")
    assert [cells(made, i)["Params diff."].text for i in (0, 1)] == ["=", ""]
    assert cells(made, 1)["Params diff."].number() == "+0.92"


def test_another_scale_is_not_grey(results: Path) -> None:
    row = "{label: a, published: {file: sret, where: {variant: SReT_T}}, measured: {part: sret}}"
    for scale, grey in (("laptop", True), ("imagenet", False)):
        made = grid(results, row, more=f", incomparable: [{{metrics: top1, why: other data, scales: [{scale}]}}]")
        published = cells(made)["Top-1 paper"]
        assert (published.grey, published.note) == (grey, "not comparable: other data" if grey else "")
        assert cells(made)["Top-1 diff."].grey is grey


def test_a_study_that_was_not_run_leaves_a_dash(results: Path) -> None:
    row = "{label: a, published: {file: sret, where: {variant: SReT_T}}, measured: {study: nowhere, part: x}}"
    made = cells(grid(results, row))
    assert made["Top-1 paper"].value == 76.0
    assert made["Top-1 ours"].empty
    assert made["Top-1 diff."].empty
    with pytest.raises(NoData):
        grid(results, "{label: a, measured: {study: nowhere, part: x}}", "[{metric: top1}]")


def test_the_same_label_is_preferred(results: Path) -> None:
    """redundancy_ablation@gpu looks for cost@gpu before cost."""
    synthetic_cost.study(results.parent / "cost@gpu")
    labelled = synthetic_frame.study(results.parent / "redundancy_ablation@gpu")
    row = "{label: a, measured: {study: cost, model: sret_tiny}}"
    assert cells(grid(labelled, row, "[{metric: params_m}]"))["Params"].study == "cost@gpu"
    assert cells(grid(results, row, "[{metric: params_m}]"))["Params"].study == "cost"


def test_sorted_inside_groups(results: Path) -> None:
    names = [("deit_tiny", "A"), ("sret_tiny", ""), ("swin_tiny", "B"), ("mor_tiny", "")]
    rows = ", ".join(f'{{label: {m}, group: "{g}", measured: {{study: cost, model: {m}}}}}' for m, g in names)
    made = grid(results, rows, "[{metric: params_m}]", ", sort: {by: params_m, of: measured}")
    assert [(r.group, r.cells[0].text) for r in made.rows] == [
        ("A", "sret_tiny"), ("", "deit_tiny"), ("B", "mor_tiny"), ("", "swin_tiny")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{label: a, measured: {part: srt}}", 'tables[0].rows[0].measured.part: the study has no part "srt", did you'),
        ("{label: a, measured: {recursion: 4}}", 'measured.recursion: the axis recursion has no level "4"'),
        ("{label: a, measured: {part: [sret, mor_vit]}}", "measured.part: takes one name"),
        ("{label: a, measured: {recursion: [1, 3]}}", "measured: matches 2 arms (sret recursion=1; sret recursion=3)"),
        ("{label: a, measured: {recursion: 1, slices: half}}", "has no arm with recursion: 1, slices: half"),
        ("{label: a, measured: {study: cost, modl: x}}", 'measured.modl: the study has no axis "modl", did you mean'),
        ("{label: a, published: {file: srt, where: {}}}", "published.file: there is no published/srt.csv, did you"),
        ("{label: a}", "rows[0]: needs `published` or `measured`"),
        ("{measured: {part: sret}}", "rows[0]: needs a `label`"),
    ],
)  # fmt: skip
def test_faults(rows: str, message: str, results: Path) -> None:
    with pytest.raises(TableError) as caught:
        build(results, _file(results, rows, "[{metric: top1}]", ""))
    assert message in str(caught.value)


def test_unknown_columns(results: Path) -> None:
    row = "{label: a, measured: {part: sret}}"
    with pytest.raises(TableError, match=r'no metric "topl", did you mean "top1"'):
        build(results, _file(results, row, "[{metric: topl}]", ""))
    with pytest.raises(TableError, match=r'no published column "topl", did you mean "top5"'):
        build(results, _file(results, row, "[{published: topl}]", ""))
    with pytest.raises(TableError, match="`text` is a text column"):
        build(results, _file(results, row, "[{text: setting, metric: top1}]", ""))
