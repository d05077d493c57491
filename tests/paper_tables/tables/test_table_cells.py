"""Cells recomputed by hand, and tables of incomplete results."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_frame
from scipy import stats as reference

from paper_tables import table_file
from paper_tables.core.text import plain, tex
from paper_tables.data.frame import Frame
from paper_tables.data.load import load_frame
from paper_tables.data.other_studies import StudyFrames
from paper_tables.formats.all import FORMATS, write
from paper_tables.schema.table_file import MetricLabel, Spec, read_table_file
from paper_tables.tables.grid import Cell, Grid, NoData
from paper_tables.tables.holm_family import HolmFamily, cells_of
from paper_tables.tables.labels import Names, fill_unit
from paper_tables.tables.notes import added_seeds
from paper_tables.tables.table import build as build_table

Edit = Callable[[pd.DataFrame], pd.DataFrame]


def results(tmp_path: Path, edit: Edit | None = None) -> Frame:
    trials, curves = synthetic_frame.frames()
    return load_frame(
        synthetic_frame.write(tmp_path, edit(trials) if edit else trials, curves, synthetic_frame.about())
    )


def own_spec() -> Spec:
    path = table_file("redundancy_ablation")
    assert path is not None
    return read_table_file(path)[0]


def grid(frame: Frame, name: str, spec: Spec | None = None) -> Grid:
    spec = spec or own_spec()
    table = next(t for t in spec.tables if t.name == name)
    made = build_table(table, Names(spec, frame), StudyFrames(Path(), frame))
    HolmFamily(cells_of([made])).mark(made)
    return made


def cell(grid: Grid, row: tuple[str, ...], column: str) -> Cell:
    heads = [h.text for h in grid.heads]
    above = ""
    for line in grid.rows:
        above = line.cells[0].text or above
        if (above, *(c.text for c in line.cells[1 : len(row)])) == row:
            return line.cells[heads.index(column)]
    raise KeyError(row)


def test_numbers_are_those_of_the_trials(tmp_path: Path) -> None:
    trials, _ = synthetic_frame.frames()
    found = grid(results(tmp_path), "redundancy")
    mor = trials[trials.part == "mor_vit"]
    arm = mor[mor["axis.capacity"] == "0.25"]["metric.top1"].to_numpy()
    base = mor[mor.baseline]["metric.top1"].to_numpy()
    mean = cell(found, ("capacity", "0.25"), "Top-1 (%)")
    assert (mean.value, mean.spread) == pytest.approx((arm.mean(), arm.std(ddof=1)))
    delta = cell(found, ("capacity", "0.25"), "$\\Delta$ top-1")
    test = reference.ttest_rel(arm, base)
    interval = test.confidence_interval(0.95)
    assert delta.value == pytest.approx((arm - base).mean())
    assert delta.spread == pytest.approx((interval.high - interval.low) / 2)
    assert delta.p == pytest.approx(test.pvalue)
    tested = sorted((c.p, c.holm) for row in found.rows for c in row.cells if c.p is not None)
    assert len(tested) == 15
    assert tested[0] == pytest.approx((test.pvalue, 15 * test.pvalue))
    assert tested[1][1] == pytest.approx(max(15 * tested[0][0], 14 * tested[1][0]))
    assert delta.star
    macs = cell(found, ("capacity", "0.25"), "MACs (M)")
    assert macs.value == pytest.approx(1e3 * mor[mor["axis.capacity"] == "0.25"]["metric.gflops"].mean())


def test_best_of_each_part_as_printed(tmp_path: Path) -> None:
    found = grid(results(tmp_path), "redundancy")
    groups: dict[str, list[Cell]] = {}
    name = ""
    for row in found.rows:
        name = row.group or name
        groups.setdefault(name, []).append(row.cells[3])
    assert len(groups) == 3
    for cells in groups.values():
        top = max(float(c.number()) for c in cells)
        assert [c.best for c in cells] == [float(c.number()) == top for c in cells]


def test_inert_axis_is_one_cell_across(tmp_path: Path) -> None:
    found = grid(results(tmp_path), "recursion_by_slices")
    assert [len(row.cells) for row in found.rows] == [2, 5, 5]
    assert found.rows[0].cells[1].span == 4
    assert "inert" in found.rows[0].cells[1].note


def test_interaction_is_the_difference_of_differences(tmp_path: Path) -> None:
    trials, _ = synthetic_frame.frames()
    tpc = trials[trials.part == "tpc_vit"]

    def arm(label: str) -> np.ndarray:
        return tpc[tpc.arm == label]["metric.top1"].to_numpy()

    values = (arm("baseline") - arm("stabilizer=off")) - (arm("pause=false") - arm("pause=false stabilizer=off"))
    corner = grid(results(tmp_path), "stabilizer_by_pause").rows[2].cells[3]
    assert corner.value == pytest.approx(values.mean())
    assert corner.p == pytest.approx(reference.ttest_1samp(values, 0).pvalue)


def test_published_is_grey_with_its_reason_and_never_filled(tmp_path: Path) -> None:
    found = grid(results(tmp_path), "against_the_papers")
    sret, mor, tpc = (row.cells for row in found.rows)
    assert (sret[3].number(), sret[3].grey) == ("76.0", True)
    assert "not comparable: trained on ImageNet" in sret[3].note
    for row in (mor, tpc):
        assert row[3].empty
        assert row[5].empty
    assert sret[6].empty
    assert (mor[6].text, tpc[6].text) == ("2.0x", "+250%")
    text = FORMATS["tex"](found)
    assert text.count("{---}") == 5
    assert "MoR-ViT (reconstructed)" in text


def test_every_table_with_a_reconstruction_says_so(tmp_path: Path) -> None:
    frame = results(tmp_path)
    for table in own_spec().tables:
        made = grid(frame, table.name)
        for form in FORMATS.values():
            assert ("econstructed" in form(made)) == (table.name != "recursion_by_slices")


# ---- incomplete results


def failed(part: str, n: int) -> Edit:
    def edit(trials: pd.DataFrame) -> pd.DataFrame:
        rows = trials.index[(trials.part == part) & (trials.arm == "baseline")][:n]
        trials.loc[rows, "status"] = "failed"
        trials.loc[rows, [c for c in trials if c.startswith("metric.")]] = np.nan
        return trials

    return edit


def test_arms_without_a_common_seed_say_so(tmp_path: Path) -> None:
    def edit(trials: pd.DataFrame) -> pd.DataFrame:
        return trials.assign(seed=trials["seed"] + 10 * (trials["part"].eq("sret") & ~trials["baseline"]))

    found = grid(results(tmp_path, edit), "redundancy")
    delta = cell(found, ("recursion", "3"), "$\\Delta$ top-1")
    assert (delta.value, delta.note) == (None, "no seed in common")


def test_two_seeds_left_no_spread_no_test(tmp_path: Path) -> None:
    found = grid(results(tmp_path, failed("sret", 1)), "redundancy")
    assert cell(found, ("baseline",), "n").text == "2/3"
    assert "1 failed" in cell(found, ("baseline",), "n").note
    assert cell(found, ("baseline",), "Top-1 (%)").spread is None
    delta = cell(found, ("recursion", "3"), "$\\Delta$ top-1")
    assert (delta.spread, delta.p, delta.note) == (None, None, "n = 2 pairs")
    assert any("No spread is given below n = 3" in note for note in found.notes)


def test_a_part_without_its_baseline(tmp_path: Path) -> None:
    found = grid(results(tmp_path, failed("sret", 3)), "redundancy")
    assert cell(found, ("baseline",), "Top-1 (%)").empty
    assert cell(found, ("recursion", "3"), "$\\Delta$ top-1").empty
    assert cell(found, ("recursion", "3"), "Top-1 (%)").value is not None
    gone = grid(results(tmp_path / "b", lambda t: t[~((t.part == "sret") & t.baseline)]), "against_the_papers")
    assert [row.cells[0].text for row in gone.rows] == ["MoR-ViT (reconstructed)", "TPC-ViT (reconstructed)"]


def test_missing_arms(tmp_path: Path) -> None:
    frame = results(tmp_path, lambda t: t[~t.arm.isin(["slices=half", "recursion=3 slices=none"])])
    assert len(grid(frame, "redundancy").rows) == 18
    crossed = grid(frame, "recursion_by_slices")
    hole = crossed.rows[2].cells[1]
    assert hole.empty
    assert hole.note == "not in the design"


def test_one_level_of_an_axis_crosses_nothing(tmp_path: Path) -> None:
    """As at a scale that runs a part of the arms; a table that asks for one level gets it."""
    frame = results(tmp_path, lambda t: t[~t.arm.str.contains("stabilizer=off")])
    with pytest.raises(NoData, match="one level of stabilizer alone was run"):
        grid(frame, "stabilizer_by_pause")


def test_means_of_unequal_n_say_theirs_where_no_column_does(tmp_path: Path) -> None:
    frame = results(tmp_path, lambda t: t[(t.seed < 2) | (t.part != "tpc_vit") | ~t.arm.str.contains("pause=false")])
    crossed = grid(frame, "stabilizer_by_pause")
    on, off, difference = crossed.rows
    assert [cell.note for cell in on.cells[1:3]] == ["n = 3", "n = 3"]
    assert [cell.note for cell in off.cells[1:3]] == ["n = 2", "n = 2"]
    assert difference.cells[3].note.startswith("n = 2 pairs; the interaction")
    equal = grid(results(tmp_path / "b"), "stabilizer_by_pause")
    assert not any(cell.note.startswith("n = ") for row in equal.rows for cell in row.cells)


def test_one_seed_only(tmp_path: Path) -> None:
    frame = results(tmp_path, lambda t: t[t.seed == 0])
    for table in own_spec().tables:
        made = grid(frame, table.name)
        assert not [c for row in made.rows for c in row.cells if c.spread is not None or c.star]
        assert write(made)
    assert any("not tested" in note for note in grid(frame, "redundancy").notes)


def test_metric_is_nan(tmp_path: Path) -> None:
    def edit(trials: pd.DataFrame) -> pd.DataFrame:
        trials.loc[0, "metric.top1"] = np.nan
        trials["metric.gflops"] = np.nan
        return trials

    found = grid(results(tmp_path, edit), "redundancy")
    assert cell(found, ("baseline",), "Top-1 (%)").note == "n = 2: no finite value in 1 finished trial"
    assert cell(found, ("recursion", "1"), "MACs (G)").note == "the finished trials have no finite value"
    for form in FORMATS.values():
        assert "nan" not in form(found).lower().replace("resonance", "")


def test_all_failed(tmp_path: Path) -> None:
    frame = results(tmp_path, lambda t: t.assign(status="failed"))
    with pytest.raises(NoData, match="no trial has finished \\(57 failed\\)"):
        grid(frame, "redundancy")
    with pytest.raises(NoData):
        grid(frame, "recursion_by_slices")


def test_power_note_only_where_n_is_small(tmp_path: Path) -> None:
    few = grid(results(tmp_path / "3"), "redundancy")
    assert any(note.startswith("Power: with 3 seeds only a difference of ") for note in few.notes)
    many = load_frame(synthetic_frame.study(tmp_path / "12", seeds=12))
    assert not any(note.startswith("Power") for note in grid(many, "redundancy").notes)


@pytest.mark.parametrize(("looks", "added"), [([2, 5], True), ([3, 5], False), (None, False)])
def test_stars_where_looks_added_seeds_say_so(looks: list[int] | None, added: bool, tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    decide = {"decide": {"looks": looks}} if looks else {}
    frame = load_frame(synthetic_frame.write(tmp_path, trials, curves, {**synthetic_frame.about(), **decide}))
    note = added_seeds(frame)
    assert note.startswith("Seeds were added by looks at the claims: stars at 5 %") == added
    spec = own_spec()
    notes = []
    for table in spec.tables:
        made = build_table(table, Names(spec, frame), StudyFrames(Path(), frame))
        HolmFamily(cells_of([made]), note).mark(made)
        starred = any(cell.star for cell in cells_of([made]))
        notes.append((starred and added) == (bool(note) and note in made.notes))
    assert notes and all(notes)


def test_names_with_everything_latex_dislikes(tmp_path: Path) -> None:
    nasty = r"50% & $x_1$ #{a}~b^c \input{x} <é> 漢|`*_[y](z)"

    def edit(trials: pd.DataFrame) -> pd.DataFrame:
        return trials.replace({"axis.slices": {"half": nasty}})

    trials, curves = synthetic_frame.frames()
    about = synthetic_frame.about()
    about["parts"][0]["axes"][1]["levels"][1] = nasty
    found = grid(load_frame(synthetic_frame.write(tmp_path, edit(trials), curves, about)), "redundancy")
    tex = FORMATS["tex"](found)
    assert r"50\% \& \$x\_1\$ \#\{a\}\textasciitilde{}b\textasciicircum{}c \textbackslash{}input\{x\}" in tex
    assert "[U+6F22]" in tex
    html = FORMATS["html"](found)
    assert "50% &amp; $x_1$" in html
    assert "&lt;é&gt;" in html
    line = next(row for row in FORMATS["md"](found).splitlines() if "50%" in row)
    assert len(re.findall(r"(?<!\\)\|", line)) == len(found.heads) + 1
    csv_file = tmp_path / "t.csv"
    csv_file.write_text(FORMATS["csv"](found))
    assert nasty in set(pd.read_csv(csv_file)["Setting"])


def test_a_label_that_a_study_gives_an_axis_stays_as_it_is(tmp_path: Path) -> None:
    """A plain name is shown in words; LaTeX has the label's underscore, not a subscript."""
    trials, curves = synthetic_frame.frames()
    about = synthetic_frame.about()
    axis = about["parts"][0]["axes"][0]
    axis["label"] = "keep_rate of $x_i$"
    frame = load_frame(synthetic_frame.write(tmp_path, trials, curves, about))
    names = Names(own_spec().model_copy(update={"axes": {}}), frame)
    assert plain(names.axis(axis["name"])) == "keep_rate of $x_i$"
    assert tex(names.axis(axis["name"])) == r"keep\_rate of \$x\_i\$"
    assert names.axis("not_declared") == "not declared"


@pytest.mark.parametrize(("unit", "head", "factor"), [
    (None, "MACs (M)", 1e3), ("MACs", "MACs (MMACs)", 1e3), ("G", "MACs (G)", 1), ("M", "MACs (M)", 1e3),
    ("GMACs", "MACs (GMACs)", 1), ("TFLOPs", "MACs (TFLOPs)", 1e-3),
])  # fmt: skip
def test_a_prefix_in_the_unit_of_a_count_is_the_one_it_is_printed_in(
    unit: str | None, head: str, factor: float, tmp_path: Path
) -> None:
    spec = own_spec()
    spec = spec.model_copy(update={"metrics": {**spec.metrics, "gflops": MetricLabel(head="MACs", unit=unit)}})
    trials, _ = synthetic_frame.frames()
    macs = cell(grid(results(tmp_path), "redundancy", spec), ("capacity", "0.25"), head)
    assert macs.value == pytest.approx(factor * trials[trials["axis.capacity"] == "0.25"]["metric.gflops"].mean())


@pytest.mark.parametrize(("part", "kept"), [("sret", False), ("mor_vit", True)])
def test_an_optional_column_is_left_out_where_only_arms_of_other_tables_have_it(
    part: str, kept: bool, tmp_path: Path
) -> None:
    def blank(trials: pd.DataFrame) -> pd.DataFrame:
        trials.loc[trials.part == "sret", "metric.active_share"] = np.nan
        return trials

    columns = [{"metric": "top1", "head": "Top-1"}, {"metric": "active_share", "head": "Active", "optional": True}]
    table = {"name": "t", "filter": {"part": part}, "rows": {"item": "arm"}, "columns": columns}
    spec = Spec.model_validate({"study": "redundancy_ablation", "tables": [table]})
    assert ("Active" in [head.text for head in grid(results(tmp_path, blank), "t", spec).heads]) is kept


def test_a_curve_has_the_label_and_the_unit_of_its_metric(tmp_path: Path) -> None:
    trials, about = synthetic_frame.frames(1)[0], synthetic_frame.about()
    about["metrics"]["balanced"] = {"from": "best", "direction": "max", "unit": "%"}
    frame = load_frame(synthetic_frame.write(tmp_path, trials, None, about))
    names = Names(Spec(study="s", metrics={"balanced": MetricLabel(label="Balanced accuracy", head="Bal.")}), frame)
    found = [names.metric(name) for name in ("val.balanced", "train.balanced", "last(val.balanced)")]
    assert [(one.label, one.head, one.unit) for one in found] == [
        ("Validation balanced accuracy", "Bal.", "%"),
        ("Training balanced accuracy", "Bal.", "%"),
        ("Last of validation balanced accuracy", "Last of validation balanced accuracy", "%"),
    ]
    assert names.metric("val.top1").label == "Validation top-1"


@pytest.mark.parametrize(
    ("head", "unit", "printed"),
    [
        ("NLL ({unit})", "", "NLL"),
        ("NLL [{unit}] (val.)", "", "NLL (val.)"),
        ("NLL in {unit}", "nats", "NLL in nats"),
        ("NLL ({unit})", "%", "NLL (%)"),
    ],
)
def test_a_head_has_no_empty_brackets_where_there_is_no_unit(head: str, unit: str, printed: str) -> None:
    assert fill_unit(head, unit) == printed


def test_a_count_without_a_unit_keeps_three_digits(tmp_path: Path) -> None:
    frame = results(tmp_path, lambda trials: trials.assign(**{"metric.gflops": 1.234e-5}))
    table = {"name": "t", "columns": [{"metric": "gflops", "head": "MACs"}]}
    made = grid(frame, "t", Spec.model_validate({"study": "redundancy_ablation", "tables": [table]}))
    assert {row.cells[-1].number() for row in made.rows} == {"0.0000123"}
