"""A results folder that was moved or copied: MLflow's files are beside the database, nothing is at the old place."""

from __future__ import annotations

import shutil
from pathlib import Path

import made_study as made
import mirrored_runs
import pytest

from studies.engine.storage.results_dir import Store
from studies.engine.tracking.mirror import Mirror


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_files_follow_the_database(store: Store, tmp_path: Path, how: str) -> None:
    plan = made.make_plan(seeds=1)
    folder = made.run_all(store, plan)
    mirrored_runs.close(store, folder)
    before = set(mirrored_runs.runs(store))
    there = Store(tmp_path / "of 100%?" / "paper_1")
    there.root.parent.mkdir()
    if how == "moved":
        store.root.rename(there.root)
    else:
        shutil.copytree(store.root, there.root)
        shutil.rmtree(store.root / "mlartifacts")
    trial = there.trial(plan["trials"][0]["folder"])
    made.finish(trial, made.START + 70, top1=99.0)
    mirror = Mirror(there, there.study("toy"))
    assert mirror.sync(), mirror.problem
    assert not (store.root / "mlartifacts").exists(), "written to where the results were"
    shutil.move(there.root, tmp_path / "open")  # an address that the test's client can read
    runs = mirrored_runs.runs(Store(tmp_path / "open"))
    assert set(runs) == before and runs[trial.id].data.metrics["top1"] == 99.0
    for run in runs.values():
        assert Path(run.info.artifact_uri).is_relative_to(there.root / "mlartifacts" / "toy")
        copied = Path(str(run.info.artifact_uri).replace(str(there.root), str(tmp_path / "open")))
        assert any(copied.iterdir())


def test_a_renamed_experiment_is_kept(store: Store) -> None:
    folder = made.run_all(store, made.make_plan(seeds=1))
    mirrored_runs.close(store, folder)
    client = mirrored_runs.client(store)
    experiment = client.get_experiment_by_name("toy").experiment_id
    client.rename_experiment(experiment, "toy of May")
    assert Mirror(store, folder).sync()
    assert {e.name for e in client.search_experiments()} == {"Default", "toy of May"}
    assert Mirror(store, folder).where.endswith("experiment toy of May")
