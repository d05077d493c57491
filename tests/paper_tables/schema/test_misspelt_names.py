"""A misspelt name in a table file is an error with the nearest right one: ignored, it would let numbers pass as
comparable that are not."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest
import synthetic_cost
import synthetic_frame

from paper_tables.core.errors import TableError
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.schema.table_file import read_table_file
from paper_tables.validate.table_file import check

STUDY = """\
study: redundancy_ablation
scales:
  laptop: {train.epochs: 1}
  gpu: {parts: {sret: {axes: {recursion: {values: [2, 4]}}}}}
parts: {sret: {axes: {recursion: {key: model.recursion, values: [1, 2, 3], baseline: 2}}}}
"""
GOOD = """\
study: redundancy_ablation
scales: {gpu: "Images are lossy."}
axes: {recursion: {levels: {1: one, 4: four at scale gpu}}, model: {levels: {sret_tiny: SReT-T}}}
metrics: {top1: {head: Top-1}, macs: {head: MACs}, val.top1: {label: A}}
tables:
  - name: t
    rows:
      - {label: "{variant} at $x_{1}$", published: {file: sret, where: {variant: SReT_T}}, measured: {part: sret}, words: {setting: w}}
      - {label: "b {set}", measured: {study: cost, model: sret_tiny}}
    columns: [{text: setting}, {text: backbone}, {metric: top1, published: top1}]
    incomparable: [{metrics: top1, why: because, scales: [laptop, gpu]}]
    sort: {by: params_m}
claims:
  - {name: a, text: t, paper: p, scales: [laptop, gpu], conditions: [{metric: top1, of: {part: sret}, at_least: 1, scales: [gpu]}]}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> StudyFrames:
    folder, (trials, curves) = tmp_path_factory.mktemp("results"), synthetic_frame.frames(1)
    synthetic_cost.study(folder / "cost")
    about = synthetic_frame.about() | {"study_text": STUDY}
    own = synthetic_frame.write(folder / "redundancy_ablation", trials, curves, about)
    return StudyFrames(own, load_frame(own))


def faults(text: str, library: StudyFrames, tmp_path: Path) -> list[str]:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    try:
        check(*read_table_file(path, "t.yaml"), library)
    except TableError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_names_of_other_scales_and_studies_are_right(library: StudyFrames, tmp_path: Path) -> None:
    assert faults(GOOD, library, tmp_path) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ("{gpu: ", "{gpuu: ", 't.yaml:2:10  scales.gpuu: the study has no scale "gpuu", did you mean "gpu"?'),
        ("{recursion: {l", "{recusion: {l", 't.yaml:3:8  axes.recusion: the study has no axis "recusion", did you mean "recursion"?'),
        ("4: four", "5: four", 't.yaml:3:37  axes.recursion.levels.5: the axis recursion has no level "5"; known: 1, 2, 3, 4'),
        ("metrics: {top1", "metrics: {topp1", 't.yaml:4:11  metrics.topp1: the results have no metric "topp1", did you mean "top1"?'),
        ("{variant} at", "{variantt} at", 't.yaml:8:10  tables[0].rows[0].label: the published row has no column "variantt", did you mean "variant"?'),
        ("b {set}", "{variant}", 't.yaml:9:10  tables[0].rows[1].label: the published row has no column "variant"'),
        ("words: {setting", "words: {settign", 't.yaml:8:116  tables[0].rows[0].words: the table has no text column "settign", did you mean "setting"?'),
        ("text: backbone", "text: backbon", 't.yaml:10:33  tables[0].columns[1].text: no row has words or a published column "backbon", did you mean "backbone"?'),
        ("metrics: top1, why", "metrics: topp1, why", 't.yaml:11:21  tables[0].incomparable[0].metrics: the table has no column of "topp1", did you mean "top1"?'),
        ("scales: [laptop, gpu]}]\n    s", "scales: [laptp, gpu]}]\n    s", 't.yaml:11:50  tables[0].incomparable[0].scales: the study has no scale "laptp", did you mean "laptop"?'),
        ("by: params_m", "by: params_mm", 't.yaml:12:12  tables[0].sort.by: no published column "params_mm", did you mean "params_m"?'),
        ("by: params_m", "by: topl, of: measured", 't.yaml:12:12  tables[0].sort.by: the results have no metric "topl", did you mean "top1"?'),
        ("p, scales: [laptop", "p, scales: [laptp", 't.yaml:14:34  claims[0].scales: the study has no scale "laptp", did you mean "laptop"?'),
        ("scales: [gpu]", "scales: [gpus]", 't.yaml:14:116  claims[0].conditions[0].scales: the study has no scale "gpus", did you mean "gpu"?'),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_an_error(right: str, wrong: str, fault: str, library: StudyFrames, tmp_path: Path) -> None:
    assert right in GOOD
    text = GOOD.replace(right, wrong, 1).replace("words: {setting: w}, ", "")
    assert faults(text, library, tmp_path) == [fault]


def test_an_arm_against_itself_is_an_error(library: StudyFrames, tmp_path: Path) -> None:
    text = GOOD.replace(", scales: [gpu]", "").replace(
        "of: {part: sret}", "of: {part: sret}, against: {part: sret, recursion: 2}"
    )
    place = "t.yaml:14:103  claims[0].conditions[0].against"
    assert faults(text, library, tmp_path) == [f"{place}: is the same arm as `of`"]
    assert faults(text.replace("at_least", "against_metric: gflops, at_least"), library, tmp_path) == []


def test_a_csv_does_not_say_which_scales_there_are(tmp_path: Path) -> None:
    own = synthetic_frame.write(tmp_path / "redundancy_ablation", synthetic_frame.frames(1)[0])
    assert faults("study: redundancy_ablation\nscales: {gpu: x}\n", StudyFrames(own, load_frame(own)), tmp_path) == []


def test_what_cannot_be_known_is_not_refused(tmp_path: Path) -> None:
    """A frame without its study file may be of a study with other scales; what is nearly its own is misspelt."""
    trials, curves = synthetic_frame.frames(1)
    own = synthetic_frame.write(tmp_path / "redundancy_ablation", trials, curves, synthetic_frame.about())
    library = StudyFrames(own, load_frame(own))
    text = 'study: redundancy_ablation\nscales: {gpu: x, laptp: y}\naxes: {recursion: {levels: {"1": one}}}\n'
    assert faults(text, library, tmp_path) == [
        't.yaml:2:18  scales.laptp: the study has no scale "laptp", did you mean "laptop"?'
    ]
