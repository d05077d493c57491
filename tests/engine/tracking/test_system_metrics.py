"""What attempts took of their machines, in MLflow and nowhere else: once, and the same from a new database."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from mirrored_runs import close, history, runs

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.storage.samples import NAME, Sample, format_sample
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import write_runs
from studies.engine.tracking.mirror import Mirror

CPU, MEMORY = "system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"


@pytest.fixture
def plan() -> dict[str, Any]:
    plan = made.make_plan(seeds=1)
    return {**plan, "trials": plan["trials"][:1]}


def took(folder: TrialFolder, at: float, cpu: float, attempt: int = 0) -> None:
    values = {"cpu_utilization_percentage": cpu, "system_memory_usage_megabytes": 1000 + cpu}
    with open(folder.attempt_folder(attempt) / NAME, "ab") as file:
        file.write(format_sample(Sample(at, values)))


def shown(store: Store, trial: str, name: str = CPU) -> list[tuple[int, float]]:
    return [(step, value) for step, _, value in history(store, runs(store)[trial], name)]


def rebuilt(store: Store, folder: Path, trial: str, mlflow_database: Callable[[Path], Path]) -> list[tuple[int, float]]:
    mlflow_database(store.root)
    assert Mirror(store, folder).sync()
    return shown(store, trial)


def test_samples_are_system_metrics_while_a_trial_runs_and_after_it_was_resumed(
    store: Store, plan: dict[str, Any], mlflow_database: Callable[[Path], Path]
) -> None:
    folder, trial = made.write_plan(store, plan), made.create(store, plan["trials"][0])
    mirror = Mirror(store, folder)
    made.start(trial)
    took(trial, made.START + 10, 50.0)
    assert mirror.update()
    assert shown(store, trial.id) == [(10, 50.0)]
    assert shown(store, trial.id, MEMORY) == [(10, 1050.0)]
    with open(trial.attempt_folder(0) / NAME, "ab") as file:
        file.write(b'{"t": 17')
    assert mirror.update()
    made.start(trial, attempt=2)
    took(trial, made.START + 30, 150.0, attempt=1)
    assert mirror.update()
    took(trial, made.START + 40, 350.0, attempt=1)
    made.log(trial, 1, made.START + 41, val__loss=1.0)
    made.finish(trial, made.START + 50)
    close(store, folder)
    expected = [(10, 50.0), (30, 150.0), (40, 350.0)]
    assert shown(store, trial.id) == expected
    run = runs(store)[trial.id]
    assert run.data.metrics[CPU] == 350.0
    assert len(runs(store)) == 2, "the study's run, and one of the trial"
    assert rebuilt(store, folder, trial.id, mlflow_database) == expected
    assert Mirror(store, folder).sync()
    assert shown(store, trial.id) == expected


@pytest.mark.parametrize("logs", [True, False])
def test_a_trial_that_was_started_over_has_those_of_its_new_training(
    store: Store, plan: dict[str, Any], logs: bool, mlflow_database: Callable[[Path], Path]
) -> None:
    """logs: a task without curves changes nothing that MLflow could tell the two by, but the start."""
    folder, trial = made.write_plan(store, plan), made.create(store, plan["trials"][0])
    mirror = Mirror(store, folder)
    made.start(trial)
    if logs:
        made.log(trial, 1, made.START + 5, val__loss=1.0)
    took(trial, made.START + 10, 50.0)
    made.finish(trial, made.START + 20)
    assert mirror.update()
    assert trial.archive_attempt()
    assert mirror.update()
    made.start(trial, made.START + 1000, attempt=2)
    assert mirror.update()
    took(trial, made.START + 1020, 75.0, attempt=1)
    assert mirror.update()
    if logs:
        made.log(trial, 1, made.START + 1025, val__loss=1.0)
    made.finish(trial, made.START + 1030)
    close(store, folder)
    assert shown(store, trial.id) == [(20, 75.0)]
    assert runs(store)[trial.id].info.start_time == 1000 * (made.START + 1000)
    assert rebuilt(store, folder, trial.id, mlflow_database) == [(20, 75.0)]


def damage(place: Path, how: str) -> None:
    place.unlink()
    if how == "folder":
        place.mkdir()
    elif how == "pipe":
        os.mkfifo(place)
    elif how == "loop":
        place.symlink_to(place.name)
    elif how == "zeros":
        place.symlink_to("/dev/zero")
    else:
        place.write_bytes(os.urandom(3000))


@pytest.mark.parametrize("how", ["folder", "pipe", "loop", "zeros", "noise"])
def test_a_damaged_file_costs_its_samples_only(store: Store, plan: dict[str, Any], how: str) -> None:
    folder, trial = made.write_plan(store, plan), made.run_trial(store, plan["trials"][0])
    took(trial, made.START + 10, 50.0)
    damage(trial.attempt_folder(0) / NAME, how)
    close(store, folder)
    run = runs(store)[trial.id]
    assert run.info.status == "FINISHED" and run.data.metrics["top1"] == 80.0
    assert not [name for name in run.data.metrics if name.startswith("system/")]


def test_no_table_and_no_number_has_them(store: Store, plan: dict[str, Any]) -> None:
    folder, trial = made.write_plan(store, plan), made.run_trial(store, plan["trials"][0])

    def frame() -> dict[str, bytes]:
        collect(store, folder)
        return {name: (folder / name).read_bytes() for name in ("trials.csv", "trials.parquet", "curves.parquet")}

    before = frame()
    took(trial, made.START + 10, 50.0)
    (folder / "trials.csv").unlink()
    assert frame() == before
    close(store, folder)
    [model] = [run.data.metrics.keys() for key, run in runs(store).items() if key == trial.id]
    assert {CPU, MEMORY} <= model


def test_a_repeated_sync_does_not_open_the_files(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, trial = made.write_plan(store, plan), made.run_trial(store, plan["trials"][0])
    took(trial, made.START + 10, 50.0)
    close(store, folder)
    monkeypatch.setattr(write_runs, "new_samples", lambda *_: pytest.fail("read again"))
    assert Mirror(store, folder).sync()
