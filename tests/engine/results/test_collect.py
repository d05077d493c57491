"""collect: the frame holds every planned trial, and equal folders give equal bytes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import made_study as made
import pandas as pd
import pyarrow.parquet as pq
import pytest

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store

COLUMNS = [
    *("study", "part", "trial", "arm", "baseline", "seed", "status", "attempts"),
    *("axis.recursion", "axis.routing", "axis.capacity", "metric.top1", "metric.loss", "metric.gflops"),
    *("cost.seconds", "cost.gpu_hours", "cost.peak_memory_mb", "model.params", "model.gflops"),
    *("env.git", "env.source", "env.gpu", "env.torch", "started", "ended"),
]
FILES = ("trials.csv", "trials.parquet", "curves.parquet")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv", dtype={"trial": str})


def test_a_row_holds_what_the_folder_says(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    assert collect(store, folder) == folder / "trials.csv"
    frame = read(folder)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 18
    row = frame[(frame.part == "mor") & (frame.arm == "capacity=0.25") & (frame.seed == 2)].iloc[0]
    assert row["metric.top1"] == 80 + 2 + 0.1 * 17
    assert row["metric.loss"] == 17 + 0.5 / 3
    assert row["metric.gflops"] == 0.25
    assert row["cost.gpu_hours"] == 0.5
    assert row["model.params"] == 1234
    assert (row["env.git"], row["env.torch"], row["status"]) == ("abc1234", "2.15.0", "done")
    assert row["started"] == "2026-09-21T14:41:40+00:00"
    assert not row["baseline"]
    assert frame["baseline"].sum() == 6


def test_parquet_and_csv_say_the_same(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    collect(store, folder)
    parquet = pd.read_parquet(folder / "trials.parquet")
    assert list(parquet.columns) == COLUMNS
    for name in COLUMNS:
        left, right = parquet[name], read(folder)[name]
        if name.startswith("axis."):
            right = right.map(lambda v: v if isinstance(v, str) or pd.isna(v) else f"{v:g}")
        pd.testing.assert_series_equal(left, right, check_dtype=False, check_exact=True)


def test_metadata_rides_in_both_parquet_files(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    collect(store, folder)
    for name in ("trials.parquet", "curves.parquet"):
        tags = json.loads(pq.read_schema(folder / name).metadata[b"dynvit"])
        assert tags["frame"] == 1
        assert tags["metrics"] == plan["metrics"]
        assert list(tags["metrics"]) == ["top1", "loss", "gflops"]
        assert tags["parts"] == plan["parts"]
        assert tags["study_text"] == plan["study_text"]


def test_inert_axes_and_other_parts_axes_are_empty(store: Store) -> None:
    folder = made.run_all(store, made.make_plan(seeds=1))
    collect(store, folder)
    frame = pd.read_parquet(folder / "trials.parquet").set_index(["part", "arm"])
    assert frame.loc[("mor", "routing=token"), "axis.routing"] == "token"
    assert pd.isna(frame.loc[("mor", "routing=token"), "axis.capacity"])
    assert pd.isna(frame.loc[("sret", "recursion=3"), "axis.capacity"])
    assert frame.loc[("mor", "baseline"), "axis.capacity"] == "0.5"


def test_same_folders_same_bytes(store: Store, tmp_path: Path) -> None:
    folder = made.run_all(store, made.make_plan())
    collect(store, folder)
    before = {name: (folder / name).read_bytes() for name in FILES}
    shutil.copytree(store.root, tmp_path / "copy")
    copy = Store(tmp_path / "copy")
    other = copy.study("toy")
    for name in FILES:
        (other / name).unlink()
    collect(copy, other)
    assert {name: (other / name).read_bytes() for name in FILES} == before


def test_an_unchanged_frame_is_not_written_again(store: Store) -> None:
    folder = made.run_all(store, made.make_plan())
    collect(store, folder)
    for name in FILES:
        os.utime(folder / name, (1, 1))
    collect(store, folder)
    assert [os.stat(folder / name).st_mtime for name in FILES] == [1, 1, 1]


def test_order_is_the_plans_whatever_order_the_trials_stand_in(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    collect(store, folder)
    before = (folder / "trials.csv").read_bytes()
    first_seeds = [t for t in plan["trials"] if t["seed"] == 0]
    plan["trials"] = first_seeds + [t for t in reversed(plan["trials"]) if t["seed"] != 0]
    made.write_plan(store, plan)
    collect(store, folder)
    assert (folder / "trials.csv").read_bytes() == before
    assert list(read(folder)["arm"].unique()) == [
        "baseline",
        "recursion=1",
        "recursion=3",
        "routing=token",
        "capacity=0.25",
    ]


def test_no_finished_trial_still_gives_a_frame(store: Store) -> None:
    folder = made.write_plan(store, made.make_plan())
    collect(store, folder)
    frame = pd.read_parquet(folder / "trials.parquet")
    assert len(frame) == 18
    assert list(frame.columns) == COLUMNS
    assert set(frame["status"]) == {"planned"}
    assert frame["metric.top1"].isna().all()
    assert frame["metric.top1"].dtype == float
    assert len(pd.read_parquet(folder / "curves.parquet")) == 0


def test_only_finished_trials_have_metrics(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    failed, dead, damaged, live = (store.trial(t["folder"]) for t in plan["trials"][:4])
    for trial in (failed, dead, live):
        trial.result_file.unlink()
    made.fail(failed, made.START)
    made.start(dead, attempt=2)
    damaged.result_file.write_text('{"metrics": {"be')
    made.start(live)
    token = live.acquire_lease()
    assert token
    collect(store, folder)
    frame = read(folder)
    assert list(frame["status"][:4]) == ["failed", "lost", "lost", "running"]
    assert frame["metric.top1"][:4].isna().all()
    assert frame["metric.loss"][:4].isna().all()
    assert frame["attempts"][1] == 2
    assert frame["metric.top1"][4:].notna().all()


def test_a_worker_killed_after_its_result_counts_as_done(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    trial = store.trial(plan["trials"][0]["folder"])
    made.start(trial)
    collect(store, folder)
    assert read(folder)["status"][0] == "done"
    assert read(folder)["metric.top1"][0] == 80.0


def test_curves_keep_the_last_value_of_a_step(store: Store) -> None:
    plan = made.make_plan()
    folder = made.run_all(store, plan)
    trial = store.trial(plan["trials"][1]["folder"])
    made.log(trial, 2, made.START, train__loss=7.0)
    with open(trial.events_file, "a") as f:
        f.write('{"t": 1, "step": 9, "m": {"train.lo')
    collect(store, folder)
    curves = pd.read_parquet(folder / "curves.parquet")
    assert list(curves.columns) == ["trial", "metric", "step", "value"]
    assert len(curves) == 18 * 2 * 3
    assert not curves.duplicated(["trial", "metric", "step"]).any()
    mine = curves[(curves.trial == trial.id) & (curves.metric == "train.loss")]
    assert list(mine["step"]) == [1, 2, 3]
    assert list(mine["value"]) == [1.0, 7.0, 1 / 3]


def test_a_folder_that_serves_two_arms_is_two_rows_and_one_curve(store: Store) -> None:
    plan = made.make_plan(seeds=1)
    plan["trials"][4]["folder"] = plan["trials"][0]["folder"]
    folder = made.run_all(store, plan)
    collect(store, folder)
    frame = read(folder)
    assert len(frame) == 6
    assert (frame["trial"] == plan["trials"][0]["folder"]).sum() == 2
    curves = pd.read_parquet(folder / "curves.parquet")
    assert curves["trial"].nunique() == 5


def test_without_a_plan_it_says_so(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match="nothing has been run"):
        collect(store, store.study("never"))
