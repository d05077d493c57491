"""doctor for machines that share a results folder: clocks, versions, trials without a driver, --fix."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_study as made
import pytest
from click.testing import CliRunner, Result

from studies.engine.cli.main import cli
from studies.engine.diagnostics import hosts
from studies.engine.diagnostics.doctor import Finding, diagnose
from studies.engine.launchers.slurm import submissions
from studies.engine.results.collect import collect
from studies.engine.storage.environment import describe
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store(tmp_path / "results")


@pytest.fixture
def plan(store: Store) -> dict[str, Any]:
    plan = made.make_plan(seeds=1)
    collect(store, made.run_all(store, plan))
    return plan


def fix(store: Store) -> Result:
    return CliRunner().invoke(cli, ["doctor", "--fix", "--results", str(store.root)], standalone_mode=False)


def found(store: Store, *levels: str) -> dict[str, Finding]:
    return {f.what: f for f in diagnose(store) if f.level in (levels or ("attention",))}


def trial(store: Store, plan: dict[str, Any], index: int) -> TrialFolder:
    return store.trial(plan["trials"][index]["folder"])


@pytest.mark.usefixtures("plan")
def test_clocks_that_agree(store: Store) -> None:
    assert found(store, "fine")["clock"].text == "within 5 s of the file system's"
    assert abs(hosts.clock_skew(store)) < 1
    assert not list(store.root.glob(".probe*"))


@pytest.mark.parametrize(("seconds", "text"), [(90.0, "90 s behind"), (-90.0, "90 s ahead of")])
@pytest.mark.usefixtures("plan")
def test_a_clock_apart_from_the_file_systems(
    store: Store, monkeypatch: pytest.MonkeyPatch, seconds: float, text: str
) -> None:
    real = Path.write_bytes

    def stamped(self: Path, data: bytes) -> int:
        written = real(self, data)
        os.utime(self, (time.time() + seconds,) * 2)
        return written

    monkeypatch.setattr(Path, "write_bytes", stamped)
    finding = found(store)["clock"]
    assert finding.text.startswith(f"this machine is {text} the clock that stamps")
    assert "NTP" in finding.remedy


def test_a_workers_clock(store: Store, plan: dict[str, Any]) -> None:
    folder = trial(store, plan, 1)
    folder.result_file.unlink()
    made.start(folder, attempt=2)
    folder.set_state(replace(folder.state(), status="running", heartbeat=time.time() + 60, host="node7"))
    assert folder.acquire_lease()
    assert found(store)["clock"].text.startswith("node7 is 60 s ahead of")


def test_versions_that_differ(store: Store, plan: dict[str, Any]) -> None:
    here = describe("cpu")
    for index, (host, torch) in enumerate((("node1", "2.14.0"), ("node2", "2.14.0"))):
        folder = trial(store, plan, index)
        env = {**here, "host": host, "packages": {**here["packages"], "torch": torch}}
        (folder.attempt_folder(0) / "env.json").write_text(json.dumps(env))
        folder.set_state(replace(folder.state(), heartbeat=time.time()))
    (finding,) = [f for f in diagnose(store) if f.what == "versions"]
    now = here["packages"]["torch"]
    assert finding.text == f"torch 2.14.0 on node1, node2, {now} on {socket.gethostname()}"
    folder.set_state(replace(folder.state(), heartbeat=time.time() - 2 * hosts.RECENT, ended=0.0))
    (finding,) = [f for f in diagnose(store) if f.what == "versions"]
    assert "node2" not in finding.text, "what was long ago is no longer so"


def test_trials_that_wait_for_nobody(store: Store, plan: dict[str, Any]) -> None:
    for index in (0, 1):
        folder = trial(store, plan, index)
        folder.result_file.unlink()
        folder.set_state(replace(folder.state(), status="queued"))
    assert found(store, "note")["queued"].text.startswith("2 of toy are queued, and no driver or job is at work")
    submissions.create_submission(store.root, "toy", [[trial(store, plan, 0).id]])
    assert found(store, "note")["queued"].text.startswith("1 of toy is queued")


def test_a_trial_of_a_dead_worker_is_marked_lost(store: Store, plan: dict[str, Any]) -> None:
    folder = trial(store, plan, 2)
    folder.result_file.unlink()
    made.start(folder, attempt=2)
    assert "running" in found(store)
    output = fix(store).output
    assert f"marked trial {folder.id} as lost" in output
    assert json.loads(folder.state_file.read_text())["status"] == "lost"
    assert "running" not in found(store)


def test_an_orphan_is_asked_to_end(store: Store, plan: dict[str, Any]) -> None:
    folder = trial(store, plan, 0)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    code = "import time; time.sleep(60)"
    line = [sys.executable, "-c", code, "-m", "studies.engine.worker", str(folder.path)]
    with subprocess.Popen(line, env={**os.environ, "DYNVIT_PARENT": str(dead.pid)}) as orphan:
        until = time.monotonic() + 10
        while "orphan" not in found(store) and time.monotonic() < until:
            time.sleep(0.05)
        assert f"asked worker {orphan.pid} (trial {folder.id})" in fix(store).output
        assert orphan.wait(240) == -signal.SIGTERM


def test_copies_of_the_code_that_nobody_needs(
    store: Store, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(name: str, source: str) -> Path:
        folder = store.root / "code" / name
        (folder / "studies").mkdir(parents=True)
        (folder / "source.json").write_text(json.dumps({"git": None, "source": source}))
        (folder / "studies" / "x.py").write_text("x = 1")
        return folder

    used, unused = copy("0" * 12, "f00d"), copy("1" * 12, "beef")  # the trials' env.json says f00d
    named = copy("2" * 12, "cafe")
    env = trial(store, plan, 0).attempt_folder(0) / "env.json"
    env.write_text(json.dumps({**json.loads(env.read_text()), "code": named.name}))
    assert "code" not in found(store, "note"), "they are new: a driver may be about to use them"
    monkeypatch.setattr(hosts, "CODE_AGE", -1.0)
    assert found(store, "note")["code"].text == "1 code snapshot that no trial used"
    record = submissions.create_submission(store.root, "toy", [])
    assert "code" not in found(store, "note"), "a job in a queue will start from one of them"
    record.remove()
    output = fix(store).output
    assert f"removed code/{unused.name}, a code snapshot that no trial used" in output
    assert used.is_dir() and named.is_dir() and not unused.exists()
    assert "fixed 1" in output
    assert "nothing to fix" in fix(store).output
