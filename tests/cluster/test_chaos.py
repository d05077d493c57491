"""Toy trials while workers, drivers and nodes are killed, suspended for longer than their claims live, and have their
clocks moved by hours, while their disk is full, their MLflow server gone, and while second drivers come: nothing is
lost, done twice or other than undisturbed. DYNVIT_KILLS sets how often for each launcher (`make chaos`; the test suite
takes a few, without a server), DYNVIT_CHAOS_SEED what happens when.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest
from chaos import Chaos, Disk
from clocks import Clocks
from farm import need
from mlflowserver import compare, server
from raycluster import Play, comparable, standing

KILLS = int(os.environ.get("DYNVIT_KILLS", "6"))
SEEDS, STEPS = 3, 30
TRIALS = 6 * SEEDS
SERVED = KILLS >= 12
"""To start a server takes as long as six disturbances."""
STEP_SECONDS = {"inline": 0.02, "local": 0.05, "ray": 0.05}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Play:
    play = Play(tmp_path_factory.mktemp("calm"), SEEDS, STEPS)
    assert play.start("--on", "inline").wait(240) == 0, play.said
    return play


@pytest.mark.slow
@pytest.mark.timeout(600 + 30 * KILLS)
@pytest.mark.parametrize("on", STEP_SECONDS)
def test_chaos(
    on: str, calm: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    need("a Ray cluster", packages=("ray",))
    seed = int(os.environ.get("DYNVIT_CHAOS_SEED") or random.randrange(10**6))
    clocks, disk, plays = Clocks(tmp_path / "clocks"), Disk(tmp_path / "disk"), list[Play]()
    request.addfinalizer(disk.remove)
    patient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
    for key, value in {**clocks.environment, **patient}.items():
        monkeypatch.setenv(key, value)
    with standing() if on == "ray" else contextlib.nullcontext() as cluster:
        options = ("--on", on, *(("--address", cluster.address) if cluster else ()))
        chaos = Chaos(options, random.Random(seed), clocks, cluster, disk)
        try:
            while chaos.done.total() < KILLS:
                number, served = str(len(plays)), on == "local" and SERVED
                with server(tmp_path / f"mlflow{number}") if served else contextlib.nullcontext() as chaos.server:
                    if chaos.server is not None:
                        monkeypatch.setenv("MLFLOW_TRACKING_URI", chaos.server.uri)
                    plays.append(Play(disk.folder / number, SEEDS, STEPS, STEP_SECONDS[on], 100, on == "local"))
                    chaos.rage(plays[-1], KILLS, TRIALS)
                    code = chaos.let_it_end(plays[-1])
                    assert code == 0, (seed, chaos.done, plays[-1].said)
                    if chaos.server is not None:
                        assert compare(plays[-1].store, "play", chaos.server.uri) == {"FINISHED": TRIALS}
        finally:
            plays[-1].start(*options).kill()
    print(f"chaos on {on}: seed {seed}, {dict(chaos.done)}, {len(plays) * TRIALS} trials compared")
    for play in plays:
        check(play, calm, chaos.frozen, (seed, play.place, play.said))


def check(play: Play, calm: Play, frozen: set[str], history: object) -> None:
    """Every trial is done, as in an undisturbed run, and was not begun again after it had a result."""
    frame, same = play.frame(), calm.frame()
    assert len({row["trial"] for row in frame}) == len(frame) == TRIALS
    assert comparable(frame, "attempts") == comparable(same, "attempts"), history
    for row, other in zip(frame, same, strict=True):
        trial, undisturbed = play.store.trial(row["trial"]), calm.store.trial(other["trial"])
        assert (trial.result() or {})["metrics"] == (undisturbed.result() or {})["metrics"], history
        assert [(e.step, e.metrics) for e in trial.events()] == [(e.step, e.metrics) for e in undisturbed.events()]
        attempts = sorted((trial.path / "attempts").iterdir(), key=lambda folder: int(folder.name))
        logs = [(folder / "log.txt").read_text() for folder in attempts if (folder / "log.txt").exists()]
        assert not any("done after" in log for log in logs[:-1]), (row["trial"], history)
    noted = [line.split() for line in play.completed.read_text().splitlines()]
    assert {name for word, name in noted if word == "OVERLAP"} <= frozen, history
    assert {name for name, word in noted if name != "OVERLAP"} == {row["trial"] for row in frame}, history
