"""The mirror to a real MLflow server: 24 trials at once while it is frozen, killed and started again; PostgreSQL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from farm import need
from mlflowserver import Server, compare, postgres, server
from raycluster import QUICK, ROOT, TASK, until

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store
from studies.engine.tracking import mlflow_uri
from studies.engine.tracking.mirror import Mirror

BARE = """
from studies.engine.cli import finish_run as finish, main as cli
from studies.engine.tracking import background
from studies.engine.launchers import local
finish.render = lambda store, folder, say: None
local.available_cores = lambda: 24
background.INTERVAL_SECONDS = 0.5
cli.main()
"""
"""`studies` that starts 24 trials at once; tables are not what is tested here."""
STUDY = """
study: {name}
title: Into a server
task: {task}
seeds: [0, 1, 2, 3, 4, 5, 6, 7]
base: {{train: {{steps: {steps}, seconds: {seconds}}}, fault: {{step: {steps}}}}}
axes: {{fault: {{key: fault.kind, values: [none, raise, kill], baseline: none}}}}
metrics: {{score: {{from: best}}}}
resources: {{retries: 0}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setattr(mlflow_uri, "ANSWER_SECONDS", 3.0)


class Study:
    def __init__(self, place: Path, uri: str, steps: int, seconds: float, name: str = "mirrored") -> None:
        self.place, self.uri, self.store = place, uri, Store(place / "results")
        self.file = place / f"{name}.yaml"
        self.file.write_text(STUDY.format(name=name, task=TASK, steps=steps, seconds=seconds))

    def start(self, *options: str) -> subprocess.Popen[str]:
        line = ["run", str(self.file), "--on", "local", "--results", str(self.store.root), *options]
        return subprocess.Popen(
            [sys.executable, "-c", BARE, *line],
            cwd=ROOT,
            env={**os.environ, **QUICK, "MLFLOW_TRACKING_URI": self.uri},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def steps(self) -> int:
        return sum(file.read_bytes().count(b"\n") for file in self.store.trials.glob("*/events.jsonl"))

    def compare(self) -> dict[str, int]:
        return compare(self.store, self.file.stem, self.uri)


def test_a_server_that_is_frozen_killed_and_started_again(running: Server, tmp_path: Path) -> None:
    study = Study(tmp_path, running.uri, steps=60, seconds=0.15)
    driver = study.start()
    until("steps of all", lambda: study.steps() > 100 or driver.poll() is not None)
    running.send(signal.SIGSTOP)  # slow without end
    frozen = study.steps()
    until("training to go on", lambda: study.steps() > frozen + 200 or driver.poll() is not None)
    running.send(signal.SIGCONT)
    time.sleep(1)
    running.kill()
    killed = study.steps()
    until("training to go on", lambda: study.steps() > killed + 200 or driver.poll() is not None)
    assert driver.poll() is None, "the study was to outlive all that"
    out = driver.communicate(timeout=600)[0]
    assert driver.returncode == 1, out
    assert "done      8/24 trials, 16 failed" in out, out
    assert f"no MLflow server answers at {running.uri} (`python -m studies sync mirrored` catches up)" in out
    assert "Traceback" not in out
    running.start()
    running.wait()
    synced = subprocess.run(
        [sys.executable, "-m", "studies", "sync", str(study.file), "--results", str(study.store.root)],
        cwd=ROOT,
        env={**os.environ, "MLFLOW_TRACKING_URI": running.uri},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert synced.returncode == 0, synced.stdout + synced.stderr
    assert study.compare() == {"FINISHED": 8, "FAILED": 8, "KILLED": 8}


def test_an_interrupted_run(running: Server, tmp_path: Path) -> None:
    study = Study(tmp_path, running.uri, steps=120, seconds=0.1, name="interrupted")
    driver = study.start("--only", "fault=none")
    until("steps of all", lambda: study.steps() > 100 or driver.poll() is not None)
    assert driver.poll() is None, driver.communicate()[0]
    os.killpg(driver.pid, signal.SIGINT)
    out = driver.communicate(timeout=600)[0]
    assert driver.returncode == 130, out
    assert study.compare() == {"KILLED": 8}
    again = study.start("--only", "fault=none")
    out = again.communicate(timeout=600)[0]
    assert again.returncode == 0, out
    assert study.compare() == {"FINISHED": 8}


def test_an_address_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are taken, nothing is said: the client alone would try for minutes."""
    store = Store(tmp_path / "results")
    folder = made.run_all(store, made.make_plan(seeds=1))
    collect(store, folder)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as held:
        threading.Thread(target=lambda: [held.accept() for _ in range(9)], daemon=True).start()
        uri = f"http://127.0.0.1:{held.getsockname()[1]}"
        began = time.monotonic()
        assert not Mirror(store, folder, uri, said.append).update()
        assert time.monotonic() - began < 15
    assert said == [f"no MLflow server answers at {uri} (`python -m studies sync toy` catches up)"]


@pytest.mark.slow
def test_postgresql(tmp_path: Path) -> None:
    need("an MLflow server", packages=("mlflow",))
    store, plan = Store(tmp_path / "results"), made.make_plan(seeds=2)
    folder = made.run_all(store, plan)
    failed: Any = store.trial(plan["trials"][0]["folder"])
    failed.result_file.unlink()
    made.start(failed)
    made.fail(failed, made.START + 60)
    collect(store, folder)
    with postgres() as backend, server(tmp_path, backend) as started:
        mirror = Mirror(store, folder, started.uri)
        assert mirror.close(), mirror.problem
        trials = len(plan["trials"])
        assert compare(store, "toy", started.uri) == {"FINISHED": trials - 1, "FAILED": 1}
        assert mirror.sync(), mirror.problem
        assert compare(store, "toy", started.uri) == {"FINISHED": trials - 1, "FAILED": 1}
