"""The frame: both file forms, arms and baselines, what one factor at a time means."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import synthetic_frame

from paper_tables import build
from paper_tables.core.errors import TableError
from paper_tables.data import load
from paper_tables.data.frame import Frame
from paper_tables.data.other_studies import matching_arms
from paper_tables.schema.tables import ArmRows
from paper_tables.tables.notes import describe_environment
from paper_tables.tables.select_arms import filter_arms, listed_arms, varied_axis
from studies.engine.core.trial import STATUSES


def test_both_forms_hold_the_same(tmp_path: Path) -> None:
    trials, curves = synthetic_frame.frames()
    full = load.load_frame(synthetic_frame.write(tmp_path / "a", trials, curves, synthetic_frame.about()))
    bare = load.load_frame(synthetic_frame.write(tmp_path / "b", trials, curves))
    assert full.declared
    assert not bare.declared
    assert [a.coords for a in full.arms] == [a.coords for a in bare.arms]
    for arm, same in zip(full.arms, bare.arms, strict=True):
        assert full.values(arm, "top1") == bare.values(same, "top1")
    assert full.digest == load.load_frame(tmp_path / "a").digest


def test_words_that_look_like_nothing_stay_words(tmp_path: Path) -> None:
    """`none` and `off` are levels; an empty cell is an inert axis."""
    bare = load.load_frame(synthetic_frame.write(tmp_path, synthetic_frame.frames()[0]))
    assert {a.coords.get("slices") for a in bare.arms} >= {"none", "half", None}
    assert {a.coords.get("stabilizer") for a in bare.arms} >= {"off", None}


def test_one_factor_at_a_time(tmp_path: Path) -> None:
    found = load.load_frame(synthetic_frame.study(tmp_path))
    arms = listed_arms(found, {}, ArmRows(block="one_at_a_time", item="level"))
    assert len(found.arms) == 23
    assert [(a.part, varied_axis(found, a)) for a in arms] == (
        [("sret", "")] + [("sret", "recursion")] * 2 + [("sret", "slices")] * 3
        + [("mor_vit", "")] + [("mor_vit", "routing")] + [("mor_vit", "capacity")] * 3
        + [("tpc_vit", "")] + [("tpc_vit", "pause")] + [("tpc_vit", "smoothing")] * 3 + [("tpc_vit", "stabilizer")] * 3
    )  # fmt: skip
    slices = [a.coords["slices"] for a in arms if varied_axis(found, a) == "slices"]
    assert slices == ["none", "half", "double"]  # the study's order, not the alphabet's


def with_a_control(folder: Path, without: tuple[str, ...] = ()) -> Frame:
    """Arms of `sret`, and of recursion=3 an untrained one."""
    trials, _ = synthetic_frame.frames()
    plain, about = trials[trials["part"] == "sret"].assign(**{"axis.control": "none"}), synthetic_frame.about()
    lost = plain[plain["arm"] == "recursion=3"]
    lost = lost.assign(
        **{"axis.control": "untrained", "arm": "recursion=3 control=untrained", "trial": "x" + lost["trial"]}
    )
    about["parts"] = about["parts"][:1]
    about["parts"][0]["axes"].append(
        {"name": "control", "label": "Control", "levels": ["none", "untrained"], "baseline": "none"}
    )
    rows = pd.concat([plain, lost])
    return load.load_frame(synthetic_frame.write(folder, rows[~rows["arm"].isin(without)], None, about))


def test_a_selector_means_a_control_only_where_it_names_the_axis(tmp_path: Path) -> None:
    """Also where the control is all that matches, and where the part's baseline has no results."""
    trained, base = {"part": ("sret",), "recursion": ("3",), "slices": ("paper",)}, "baseline"
    for i, without in enumerate(((), ("recursion=3",), ("recursion=3", base))):
        found = with_a_control(tmp_path / str(i), without)
        labels = [arm.label for arm in matching_arms(found, trained)]
        assert labels == ([] if without else ["recursion=3"])
        untrained = matching_arms(found, {**trained, "control": ("untrained",)})
        assert [arm.label for arm in untrained] == ["recursion=3 control=untrained"]
        assert (found.baseline("sret") is None) == (base in without)


def test_controls_are_shown_where_a_filter_names_them(tmp_path: Path) -> None:
    found = with_a_control(tmp_path)
    everything = {arm.label for arm in found.arms}
    assert everything - {arm.label for arm in filter_arms(found, {})} == {"recursion=3 control=untrained"}
    assert [arm.label for arm in filter_arms(found, {"control": ("untrained",)})] == ["recursion=3 control=untrained"]
    assert {arm.label for arm in filter_arms(found, {"control": ("none", "untrained")})} == everything


def test_only_finished_trials_with_finite_values_count(tmp_path: Path) -> None:
    trials, _ = synthetic_frame.frames()
    trials.loc[0, "status"] = "failed"
    trials.loc[1, "metric.top1"] = float("inf")
    found = load.load_frame(synthetic_frame.write(tmp_path, trials, None, synthetic_frame.about()))
    base = found.baseline("sret")
    assert base is not None
    assert list(found.values(base, "top1")) == [2]
    assert len(found.finished_trials(base)) == 2


def test_parameters_in_millions_come_from_the_count(tmp_path: Path) -> None:
    trials, _ = synthetic_frame.frames()
    found = load.load_frame(synthetic_frame.write(tmp_path, trials.drop(columns="metric.params_m")))
    assert found.values(found.arms[0], "params_m")[0] == pytest.approx(0.131)
    assert "params_m" in found.metrics


def test_no_frame_and_a_wrong_one(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no results here"):
        load.load_frame(tmp_path)
    (tmp_path / "trials.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match=r"trials\.csv.*no column study, part"):
        load.load_frame(tmp_path)
    (tmp_path / "trials.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(TableError, match=r"trials\.parquet.*cannot be read"):
        load.load_frame(tmp_path)


def with_curve(folder: Path, metric: str, **metrics: object) -> Path:
    """A study of one arm whose `metric` falls from 2 to 0.5 and ends at 1."""
    rows = [{"study": "s", "part": "p", "trial": "t", "arm": "base", "baseline": True, "seed": 0, "status": "done"}]
    curve = [{"trial": "t", "step": i, "metric": metric, "value": v} for i, v in enumerate((2.0, 0.5, 1.0))]
    return synthetic_frame.write(
        folder / "s", pd.DataFrame(rows), pd.DataFrame(curve), {"study": "s", "metrics": metrics}
    )


@pytest.mark.parametrize(("metric", "best"), [
    ("val.loss", 0.5), ("train.loss", 0.5), ("loss.budget", 0.5), ("train.top1", 2.0), ("val.top5", 2.0),
])  # fmt: skip
def test_the_best_of_a_usual_metric_that_is_not_declared(metric: str, best: float, tmp_path: Path) -> None:
    frame = load.load_frame(with_curve(tmp_path, metric))
    assert frame.values(frame.arms[0], f"best({metric})") == {0: best}


def test_the_best_of_a_declared_one(tmp_path: Path) -> None:
    for name in ("val.regret", "train.regret", "regret"):
        frame = load.load_frame(with_curve(tmp_path, name, regret={"direction": "min"}))
        assert frame.values(frame.arms[0], f"best({name})") == {0: 0.5}


def test_the_best_of_what_has_no_direction_is_an_error(tmp_path: Path) -> None:
    folder, spec = with_curve(tmp_path, "val.regret"), tmp_path / "t.yaml"
    spec.write_text("study: s\ntables:\n  - {name: t, columns: [{metric: best(val.regret)}]}\n")
    with pytest.raises(TableError) as error:
        build(folder, spec)
    text = "best(val.regret): the highest or the lowest? Give val.regret a direction in the study's metrics"
    assert text in str(error.value) and f"{spec}:3" in str(error.value)
    spec.write_text("study: s\ntables:\n  - {name: t, columns: [{metric: last(val.regret)}]}\n")
    build(folder, spec)


def test_trials_on_a_cpu_and_on_a_gpu_are_both_named(tmp_path: Path) -> None:
    rows = [
        {"study": "s", "part": "p", "trial": f"t{seed}", "arm": "base", "baseline": True, "seed": seed,
         "status": status, "metric.top1": 70.0, "env.gpu": gpu}
        for seed, (status, gpu) in enumerate((("done", ""), ("done", "H100"), ("failed", "")))
    ]  # fmt: skip
    for part, named in ((rows, "on H100 and CPU"), (rows[1:], "on H100"), (rows[:1], "on CPU")):
        frame = load.load_frame(synthetic_frame.write(tmp_path / named.replace(" ", ""), pd.DataFrame(part)))
        assert describe_environment(frame) == named


@pytest.mark.parametrize(("column", "cell", "fault"), [
    ("metric.top1", "91,5", 'metric.top1: row 3: "91,5" is no number'),
    ("cost.seconds", "91.5 %", 'cost.seconds: row 3: "91.5 %" is no number'),
    ("status", "Done", 'status: row 3: no status "Done", did you mean "done"?'),
    ("baseline", "yes", 'baseline: row 3: "yes" is neither true nor false'),
    ("seed", "0", "seed: row 3: its part and arm have a row of seed 0 already"),
])  # fmt: skip
def test_a_cell_that_would_be_dropped_is_an_error(column: str, cell: str, fault: str, tmp_path: Path) -> None:
    trials = synthetic_frame.frames()[0].astype(str)
    for blank in ("", "nan", "inf"):
        trials.loc[2, "metric.top1"] = blank
        load.load_frame(synthetic_frame.write(tmp_path, trials))
    trials.loc[1, column] = cell
    with pytest.raises(TableError) as error:
        load.load_frame(synthetic_frame.write(tmp_path, trials))
    assert str(error.value) == f"{tmp_path / 'trials.csv'}  {fault}"


def test_the_states_are_those_of_the_engine() -> None:
    """Of which this package imports nothing: a frame with a new one would be refused."""
    assert load.STATUSES == STATUSES
