"""The trial folder: claims, states that tell the truth, damaged files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from studies.engine.core.files import read_json, write_atomic
from studies.engine.core.processes import machine_id, start_time
from studies.engine.core.trial import State
from studies.engine.storage import lease as claims
from studies.engine.storage.lease import Lease
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    made = Store(tmp_path).trial("abc")
    made.create({"schema": 1, "seed": 0})
    return made


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def put_claim(folder: TrialFolder, pid: int, birth: str = "", token: str = "theirs", age: float = 0.0) -> None:
    body = {"host": "here", "machine": machine_id(), "pid": pid, "born": birth, "token": token}
    folder.lease_file.write_text(json.dumps(body))
    os.utime(folder.lease_file, (time.time() - age,) * 2)


def test_a_claim_is_exclusive_and_given_back(folder: TrialFolder) -> None:
    token = folder.acquire_lease()
    assert token
    assert folder.has_live_worker()
    assert folder.acquire_lease() is None
    folder.release_lease("another token")
    assert folder.has_live_worker()
    folder.release_lease(token)
    assert not folder.has_live_worker()
    assert folder.acquire_lease()


def test_of_many_claimers_one_wins(folder: TrialFolder) -> None:
    """Also where all of them find a stale claim to break."""
    for round_ in range(20):
        put_claim(folder, dead_pid() if round_ == 0 else 2**22 - 1)
        won: list[str] = []
        start = threading.Barrier(8)

        def run(won: list[str] = won, start: threading.Barrier = start) -> None:
            start.wait()
            token = folder.acquire_lease()
            if token:
                won.append(token)

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert json.loads(folder.lease_file.read_text())["token"] == won[0]
        folder.release_lease(won[0])
    assert [file.name for file in folder.path.iterdir()] == ["spec.json"]


def test_a_dead_process_holds_nothing(folder: TrialFolder) -> None:
    put_claim(folder, dead_pid())
    assert not folder.has_live_worker()
    assert folder.acquire_lease()


def test_a_reused_process_id_does_not_hold_the_lease(folder: TrialFolder) -> None:
    put_claim(folder, os.getpid(), "1")
    assert not folder.has_live_worker()
    put_claim(folder, os.getpid(), start_time(os.getpid()))
    assert folder.has_live_worker()


def test_an_old_lease_of_another_machine_is_stale(folder: TrialFolder) -> None:
    put_claim(folder, 1)
    raw = json.loads(folder.lease_file.read_text())
    folder.lease_file.write_text(json.dumps({**raw, "machine": "elsewhere"}))
    assert folder.has_live_worker()
    old = time.time() - 6 * claims.HEARTBEAT_SECONDS
    os.utime(folder.lease_file, (old, old))
    assert not folder.has_live_worker()


def test_a_damaged_lease_counts_until_it_is_old(folder: TrialFolder) -> None:
    folder.lease_file.write_text("{")
    assert folder.has_live_worker()
    os.utime(folder.lease_file, (0, 0))
    assert folder.acquire_lease()


def test_a_lease_renewed_while_it_is_stolen_is_restored(folder: TrialFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its look and its rename another worker broke the stale claim and took the folder."""
    put_claim(folder, dead_pid(), token="dead")
    rename = os.rename

    def late(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "rename", rename)
        put_claim(folder, os.getpid(), start_time(os.getpid()), token="quicker")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert folder.acquire_lease() is None
    assert json.loads(folder.lease_file.read_text())["token"] == "quicker"
    assert sorted(file.name for file in folder.path.iterdir()) == ["claim", "spec.json"]


def test_an_owner_that_lost_its_lease_learns_it(folder: TrialFolder) -> None:
    token = folder.acquire_lease()
    assert token
    assert folder.renew_lease(token)
    put_claim(folder, os.getpid(), start_time(os.getpid()), token="another")
    assert not folder.renew_lease(token)
    folder.release_lease(token)
    assert folder.has_live_worker()


def test_a_released_lease_is_never_placed_again(folder: TrialFolder) -> None:
    token = folder.acquire_lease()
    assert token
    folder.lease_file.unlink()
    assert not folder.renew_lease(token)
    assert Lease(folder.lease_file).owner() is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"status": "done", "attempt"', "\0\0\0"])
def test_a_damaged_state_is_derived_from_the_other_files(folder: TrialFolder, damage: str) -> None:
    folder.state_file.write_text(damage)
    assert folder.state().status == "planned"
    folder.attempt_folder(0).mkdir(parents=True)
    folder.attempt_folder(1).mkdir(parents=True)
    assert (folder.state().status, folder.state().attempt) == ("lost", 2)
    folder.set_result({"metrics": {}})
    assert (folder.state().status, folder.state().attempt) == ("done", 2)


def test_running_without_a_worker_is_lost(folder: TrialFolder) -> None:
    token = folder.acquire_lease()
    assert token
    folder.set_state(State("running", 1))
    assert folder.state().status == "running"
    folder.release_lease(token)
    assert folder.state().status == "lost"


def test_the_result_decides_what_is_done(folder: TrialFolder) -> None:
    folder.set_state(State("running", 1))
    folder.set_result({"metrics": {}})
    assert folder.state().status == "done"
    assert folder.state().ended == folder.result_file.stat().st_mtime  # its worker was killed before it could say so
    folder.set_state(State("done", 1, ended=7.0))
    assert folder.state().ended == 7.0
    folder.result_file.write_text("")
    assert folder.state().status == "lost"


def test_starting_over_keeps_the_old_files_with_their_attempt(folder: TrialFolder) -> None:
    folder.attempt_folder(0).mkdir(parents=True)
    folder.set_state(State("done", 1))
    folder.set_result({"metrics": {"a": 1}})
    folder.events_file.write_text("{}\n")
    assert folder.archive_attempt()
    assert folder.state().status == "queued"
    assert folder.result() is None
    assert read_json(folder.attempt_folder(0) / "result.json") == {"metrics": {"a": 1}}
    token = folder.acquire_lease()
    assert token
    assert not folder.archive_attempt()


@pytest.mark.parametrize("renames", range(6))
def test_starting_over_is_never_going_on_where_it_is_killed(
    folder: TrialFolder, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.attempt_folder(0).mkdir(parents=True)
    folder.set_state(State("done", 1))
    folder.set_result({"metrics": {"a": 1}})
    folder.checkpoint_file.parent.mkdir()
    for file in (folder.events_file, folder.predictions_file, folder.checkpoint_file, *folder.weights_files[:2]):
        file.write_bytes(b"x")
    rename, left = os.rename, renames

    def killed(source: Path, target: Path) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        rename(source, target)

    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.archive_attempt()
    assert folder.state().status == "done" or not folder.checkpoint_file.exists()
    monkeypatch.undo()
    assert folder.archive_attempt()
    assert {file.name for file in folder.attempt_folder(0).iterdir()} == {
        "ckpt", "events.jsonl", "result.json", "predictions.npz", "last.safetensors", "best.safetensors"
    }  # fmt: skip


def test_events_skip_what_is_damaged(folder: TrialFolder) -> None:
    good = '{"t": 1, "step": %d, "m": {"loss": 0.5}}\n'
    folder.events_file.write_text(good % 1 + "{broken\n" + '{"t": 1}\n' + good % 2 + '{"t": 1, "step": 3, "m": {"loss"')
    assert [event.step for event in folder.events()] == [1, 2]


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "f"
    write_atomic(file, "old")

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]
