"""Several processes on one trial: they agree, rank 0 alone writes, and when one of them ends, the attempt does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy

from studies.engine.core.processes import is_alive
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Arm, Resources, Trial
from studies.engine.jobs.launcher import Job, LaunchContext, LaunchError, create_launcher
from studies.engine.launchers.inline import set_threads
from studies.engine.runtime.distributed import env, leader
from studies.engine.runtime.worker import run_attempt
from studies.engine.storage.results_dir import Store

TASK = Path(__file__).parents[1] / "support" / "distributed_task.py"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.launchers.local.available_cores", lambda: 8)
    monkeypatch.setenv("DYNVIT_HEARTBEAT", "0.2")
    monkeypatch.setenv("DYNVIT_CHECKPOINT_MINUTES", "0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def trial(name: str, processes: int = 2, retries: int = 1, **config: Any) -> Trial:
    arm = Arm("distributed", name, (), config, False, ())
    needs = Resources(processes=processes, retries=retries)
    return Trial(name, name, arm, 0, str(TASK), config, {}, needs)


def log(store: Store, name: str, run_attempt: int = 0) -> str:
    return (store.trial(name).attempt_folder(run_attempt) / "log.txt").read_text()


@pytest.mark.parametrize("on", ["inline", "local"])
def test_several_processes_give_one_result(store: Store, on: str) -> None:
    outcome = toy.drive(store, [trial("a", processes=3), toy.trial("alone")], on)
    assert {name: state.status for name, state in outcome.states.items()} == {"a": "done", "alone": "done"}
    assert toy.numbers(store, "a")["a"] == {"total": 21, "world": 3, "rank": 0}
    assert [event.metrics for event in store.trial("a").events()] == [{"total": n * (n + 1) / 2} for n in range(1, 7)]
    assert "3 processes, this is the first" in log(store, "a")
    kept = ["attempts", "events.jsonl", "result.json", "spec.json", "state.json"]
    assert sorted(file.name for file in store.trial("a").path.iterdir()) == kept, "workers clean up before the end"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_attempt_and_the_next_resumes(store: Store, rank: int) -> None:
    said: list[str] = []
    outcome = toy.drive(store, [trial("a", fault="kill", rank=rank)], "local", say=said.append)
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("done", 2), said
    assert ("killed by SIGKILL" if rank == 0 else "process 1 (") in said[0]
    assert "lost" in said[0]
    assert re.search(r"resumed before step [345]\n", log(store, "a", 1)), "rank 0 may be a little ahead"
    assert [event.step for event in store.trial("a").events()] == [1, 2, 3, 4, 5, 6]


def test_an_exception_of_another_rank_is_the_reason(store: Store) -> None:
    outcome = toy.drive(store, [trial("a", fault="raise", retries=0)], "local")
    assert outcome.states["a"].status == "failed"
    assert outcome.states["a"].reason == "process 1: ValueError: raised as configured"
    assert "Traceback" in log(store, "a")
    assert 'raise ValueError("raised as configured")' in log(store, "a")


def test_all_ranks_stop_at_the_same_step(store: Store) -> None:
    stop = StopRequest()
    trials = [trial("a", steps=60, seconds=0.02)]

    def watch() -> None:
        while store.trial("a").state().step < 3:
            time.sleep(0.02)
        stop.request()

    threading.Thread(target=watch, daemon=True).start()
    outcome = toy.drive(store, trials, "local", stop)
    assert outcome.interrupted
    assert outcome.states["a"].status == "stopped"
    saved = store.trial("a").state().step
    assert toy.drive(store, trials, "inline").states["a"].status == "done"
    assert f"resumed before step {saved + 1}" in log(store, "a", 1)


def test_a_rank_that_never_connects(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 alone, as when the other's node never starts."""
    (folder,) = toy.place(store, trial("a"))
    monkeypatch.setattr(leader, "RENDEZVOUS_SECONDS", 0.5)
    with leader.RankServer(folder.path, TWO) as made:
        assert run_attempt(folder, StopRequest(), ranks=made, inline=True) == "lost"
    assert folder.state().reason == "1 of 2 processes connected within 0.5 s"


def test_another_rank_that_is_late_resumes_from_the_same_checkpoint(store: Store) -> None:
    """It reads the checkpoint only after rank 0 has saved all later ones."""
    outcome = toy.drive(store, [trial("a", fault="kill", rank=0, late=True)], "local")
    assert (outcome.states["a"].status, outcome.states["a"].attempt) == ("done", 2), log(store, "a", 1)
    assert "resumed before step 3" in log(store, "a", 1)


# ---- who connects


TWO = env.RankInfo(0, 2, 0, "start-1", env.LOOPBACK)


def connect(made: leader.RankServer, **hello: Any) -> socket.socket:
    link = socket.create_connection((env.LOOPBACK, made._server.getsockname()[1]), timeout=30)
    link.sendall(json.dumps(hello).encode() + b"\n" if hello else b"")
    return link


@pytest.fixture
def server(store: Store) -> Iterator[leader.RankServer]:
    (folder,) = toy.place(store, trial("a"))
    with leader.RankServer(folder.path, TWO) as made:
        yield made
        made._fail("the test is over")


@pytest.mark.parametrize(
    "sent",
    [
        b'{"token": "guessed", "rank": 1}\n',
        b'{"rank": 1}\n',
        b"[" * 900 + b"\n",
        b"\xff\n",
        b"\n",
        b"a" * 10 * leader.HELLO_BYTES,  # no end of the line: read no further than the limit
    ],
    ids=["guessed", "none", "deep", "no-text", "empty", "long"],
)
def test_a_connection_without_the_token_is_refused(server: leader.RankServer, sent: bytes) -> None:
    link = connect(server)
    link.sendall(sent)
    with contextlib.suppress(ConnectionResetError):
        assert link.recv(10) == b""
    assert not server._links
    assert not server.reason


@pytest.mark.parametrize("rank", [0, 2, -1, "1", None, [1]])
def test_a_rank_that_there_is_not_is_refused(server: leader.RankServer, rank: Any) -> None:
    assert connect(server, token=server._token, rank=rank).recv(10) == b""
    assert not server._links


def test_a_second_process_of_a_rank_is_refused_and_the_first_goes_on(server: leader.RankServer) -> None:
    first = connect(server, token=server._token, rank=1)
    server._wait(server._all_connected, 30)
    assert connect(server, token=server._token, rank=1).recv(10) == b""
    server.share(7)
    assert first.recv(100) == b'{"value": 7}\n'


@pytest.mark.parametrize("links", [True, False], ids=["hard-link", "copy"])
def test_the_checkpoint_of_the_start_outlives_its_replacement(
    store: Store, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError))
    file = store.root / "last.pt"
    file.write_text("first")
    (folder,) = toy.place(store, trial("a"))
    with leader.RankServer(folder.path, TWO) as made:
        other = connect(made, token=made._token, rank=1)
        made.wait_for_ranks({}, file, lambda: False)
        kept = Path(json.loads(other.makefile().readline())["start"]["checkpoint"])
        file.with_name("new").write_text("second")
        file.with_name("new").replace(file)
        assert (kept.read_text(), kept.parent) == ("first", file.parent)
    assert not kept.exists()


def test_silent_connections_are_closed_and_few_at_once(
    server: leader.RankServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "HELLO_SECONDS", 0.5)
    silent = [connect(server) for _ in range(3 * leader.MAX_UNKNOWN)]
    served = [thread for thread in threading.enumerate() if thread.name == "rendezvous"]
    assert len(served) <= leader.MAX_UNKNOWN + 1
    assert [link.recv(10) for link in silent] == [b""] * len(silent)
    connect(server, token=server._token, rank=1)
    server._wait(server._all_connected, 30)
    assert server._links


def test_one_node_listens_on_loopback_and_the_token_is_private(server: leader.RankServer) -> None:
    assert server._server.getsockname()[0] == env.LOOPBACK
    assert server._file.stat().st_mode & 0o777 == 0o600
    assert env.rank_environment(0, 4, 4, "x")[env.ADDRESS] == env.LOOPBACK
    assert env.ADDRESS not in env.rank_environment(0, 4, 2, "x")
    here = socket.gethostname()
    step = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURMD_NODENAME": here}
    assert env.slurm_rank_environment({**step, "SLURM_STEP_NUM_NODES": "1"})[env.ADDRESS] == env.LOOPBACK
    assert env.slurm_rank_environment({**step, "SLURM_NNODES": "2"})[env.ADDRESS] == here


def test_all_ranks_exit_after_rank_0_is_killed(store: Store) -> None:
    made = create_launcher("local", LaunchContext(store.root, store.study("toy"), {}))
    (folder,) = toy.place(store, trial("a", steps=500, seconds=0.02))
    (handle,) = made.submit([Job((folder.path,), Resources(processes=2))])
    pids = [process.pid for process in handle.native._all]
    end = time.monotonic() + 30
    while folder.state().step < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(pids[0], 9)  # the followers notice by their connection alone
    while any(map(is_alive, pids)):
        assert time.monotonic() < end + 10
        time.sleep(0.05)
    made.close()


def test_rank_variables() -> None:
    assert env.current_rank(env.rank_environment(3, 4, 2, "x")) == env.RankInfo(3, 4, 1, "x")
    assert env.rank_environment(0, 1, 1, "x") == {}
    assert env.current_rank({}) == env.RankInfo()
    slurm = {"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    again = {**slurm, "SLURM_RESTART_COUNT": "1", "SLURM_PROCID": "3"}
    assert env.current_rank(env.slurm_rank_environment(slurm)) == env.RankInfo(2, 4, 0, "slurm.7.0.0")
    assert env.current_rank(env.slurm_rank_environment(again)).rendezvous == "slurm.7.0.1"
    assert env.slurm_rank_environment({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) == {}
    me = env.RankInfo(3, 4, 1, "x")
    assert env.rank_device("cuda:0", me, {}) == "cuda:1"
    assert env.rank_device("cuda:0", me, {"CUDA_VISIBLE_DEVICES": "2,3"}) == "cuda:1"
    assert env.rank_device("cuda:0", me, {"CUDA_VISIBLE_DEVICES": "5"}) == "cuda:0"
    assert env.rank_device("cpu", me, {}) == "cpu"


def test_resources_that_this_machine_lacks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.launchers.inline.gpu_count", lambda: 1)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    site = LaunchContext(store.root, store.study("toy"), {})
    inline, local = create_launcher("inline", site), create_launcher("local", site)
    with pytest.raises(LaunchError, match="asks for 8 GPUs, this machine has 1"):
        inline.capacity(Resources(gpus=8))
    monkeypatch.setattr("studies.engine.launchers.inline.has_gpu", lambda: False)
    with pytest.raises(LaunchError, match=r"0\.25 GPU, this machine has none"):
        inline.capacity(Resources(gpus=0.25))
    with pytest.raises(LaunchError, match="asks for 2 nodes, inline has this machine only"):
        inline.capacity(Resources(nodes=2))
    with pytest.raises(LaunchError, match="asks for 16 cores, this machine has 8"):
        local.capacity(Resources(processes=8, cpus=2))
    assert local.capacity(Resources(processes=2, cpus=2)) == 2


@pytest.mark.parametrize(
    ("listed", "gpus", "said"),
    [("0", 2, "2 GPUs, CUDA_VISIBLE_DEVICES=0 leaves 1"), ("", 0.5, "0.5 GPU, CUDA_VISIBLE_DEVICES= leaves 0"),
     ("1,-1,2", 2, "2 GPUs, CUDA_VISIBLE_DEVICES=1,-1,2 leaves 1"), ("0, GPU-a1", 2, "")],
)  # fmt: skip
def test_gpus_that_are_hidden_from_this_process(
    store: Store, monkeypatch: pytest.MonkeyPatch, listed: str, gpus: float, said: str
) -> None:
    """Two processes of one trial would have got the same GPU."""
    monkeypatch.setattr("studies.engine.launchers.inline.gpu_count", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    inline = create_launcher("inline", LaunchContext(store.root, store.study("toy"), {}))
    assert inline.capacity(Resources()) == 1
    if not said:
        assert inline.capacity(Resources(gpus=gpus)) == 1
        return
    with pytest.raises(LaunchError, match=re.escape(f"a trial asks for {said}")):
        inline.capacity(Resources(gpus=gpus))


def test_thread_limit_of_an_inline_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "64")
    monkeypatch.setitem(os.environ, "MKL_NUM_THREADS", "64")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=limits.append))
    set_threads(3)
    assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"], limits) == ("3", "3", [3])
