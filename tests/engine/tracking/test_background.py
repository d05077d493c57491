"""MLflow while trials run: curves grow, and a server that hangs holds nobody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import made_study as made
import pytest
from mirrored_runs import history, runs

from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking import background
from studies.engine.tracking.background import kept_up_to_date
from studies.engine.tracking.mirror import Mirror

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(background, "PAUSE_FACTOR", 0)


class Hanging:
    def __init__(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()

    def update(self) -> bool:
        self.entered.set()
        return self.released.wait(PATIENCE)


def test_an_update_that_hangs_does_not_hold_the_trials_up() -> None:
    mirror: Any = Hanging()
    with kept_up_to_date(cast(Mirror, mirror)):
        assert mirror.entered.wait(PATIENCE)
        mirror.released.set()  # reached only if the update does not block this thread


def test_an_update_that_never_ends_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "JOIN_SECONDS", 0.01)
    mirror: Any = Hanging()
    with kept_up_to_date(cast(Mirror, mirror)):
        assert mirror.entered.wait(PATIENCE)
    assert not mirror.released.is_set()
    mirror.released.set()


def test_curves_grow_while_a_trial_runs(tmp_path: Path, mlflow_database: Callable[[Path], Path]) -> None:
    mlflow_database(tmp_path / "results")
    store, plan = Store(tmp_path / "results"), made.make_plan(seeds=1)
    folder = made.write_plan(store, plan)
    trial = made.create(store, plan["trials"][0])
    made.start(trial)
    token = trial.acquire_lease()
    assert token

    updated = threading.Condition()

    class Watched(Mirror):
        def update(self) -> bool:
            done = super().update()
            with updated:
                updated.notify_all()
            return done

    def values() -> list[float]:
        return [value for _, _, value in history(store, runs(store)[trial.id], "loss")]

    mirror = Watched(store, folder)
    until = time.monotonic() + PATIENCE
    with kept_up_to_date(mirror):
        for step, loss in enumerate((3.0, 2.0, 1.0), 1):
            made.log(trial, step, made.START + step, loss=loss)
            with updated:
                assert updated.wait_for(lambda: mirrored(mirror, trial), until - time.monotonic())
            assert values() == [3.0, 2.0, 1.0][:step]
            assert runs(store)[trial.id].info.status == "RUNNING"
    trial.release_lease(token)


def mirrored(mirror: Mirror, trial: TrialFolder) -> bool:
    synced = mirror._state().trials.get(trial.id)
    return synced is not None and synced.offset == trial.events_file.stat().st_size
