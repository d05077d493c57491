"""A standing Ray cluster of two nodes: the frame of inline, losses of every kind, refusals before anything starts."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import growing
import own_study
import pytest
import toy
from curves import EVIT, apart, curve, log, trial
from farm import need
from raycluster import Play, Standing, comparable, standing, until

from studies.engine.core.processes import is_alive
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.execution.driver import Driver
from studies.engine.jobs.launcher import Job, LaunchContext, LaunchError, create_launcher
from studies.engine.launchers.ray import session
from studies.engine.launchers.ray.launcher import RayLauncher
from studies.engine.launchers.ray.nodes import find_cluster
from studies.engine.launchers.ray.remote import make_remote_function
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher


@pytest.fixture(scope="module")
def cluster() -> Iterator[Standing]:
    need("a Ray cluster", packages=("ray",))
    with standing() as made:
        yield made


@pytest.fixture
def visit(cluster: Standing, tmp_path: Path) -> Iterator[RayLauncher]:
    made = create_launcher(
        "ray", LaunchContext(tmp_path / "results", tmp_path / "results" / "toy", {"address": cluster.address})
    )
    assert isinstance(made, RayLauncher)
    yield made
    made.close()


def on(cluster: Standing) -> tuple[str, ...]:
    return ("--on", "ray", "--address", cluster.address)


def test_sixty_trials_give_the_frame_of_inline(cluster: Standing, tmp_path: Path) -> None:
    far, near = Play(tmp_path / "ray", seeds=10), Play(tmp_path / "inline", seeds=10)
    far.start(*on(cluster))
    assert near.start("--on", "inline").wait(240) == 0, near.said
    assert far.driver is not None
    assert far.driver.wait(240) == 0, far.said
    frame = comparable(far.frame())
    assert len(frame) == 60
    assert {row["status"] for row in frame} == {"done"}
    assert frame == comparable(near.frame())
    assert sorted(far.completed.read_text().split()[1::2]) == ["1"] * 60
    assert not list(far.store.study("play").glob(".ray*"))


def test_a_session_of_its_own_between_two_visits(cluster: Standing, tmp_path: Path) -> None:
    """As in a notebook: one process, each time another way to show who it is."""
    for options in ({"address": cluster.address}, {"num_cpus": 1}, {"num_cpus": 2}, {"address": cluster.address}):
        made = create_launcher("ray", LaunchContext(tmp_path / "results", tmp_path / "results" / "toy", options))
        try:
            assert made.capacity(Resources()) == options.get("num_cpus", 4)
        finally:
            made.close()


def test_own_code(cluster: Standing, tmp_path: Path) -> None:
    own_study.check_on(tmp_path, *on(cluster))


def test_a_killed_worker_and_a_killed_driver(cluster: Standing, tmp_path: Path) -> None:
    play = Play(tmp_path, seeds=1, steps=24, seconds=0.1)
    driver = play.start(*on(cluster))
    until("steps", lambda: play.steps() > 8 or driver.poll() is not None)
    assert play.kill_worker(random.Random(0)), play.said
    until("more steps", lambda: play.steps() > 40 or driver.poll() is not None)
    workers = play.workers()
    driver.kill()
    driver.wait()
    until("its workers to end", lambda: not any(map(is_alive, workers)))
    assert play.start(*on(cluster)).wait(90) == 0, play.said
    frame = play.frame()
    assert {row["status"] for row in frame} == {"done"}
    assert "SIGKILL" in play.said
    completed = play.completed.read_text()
    assert "OVERLAP" not in completed
    assert len({line.split()[0] for line in completed.splitlines()}) == 6


STAGES = """
study: play
title: One part starts from the other
task: {task}
seeds: [0, 1]
base: {{train: {{steps: 5}}, side: {side}}}
parts:
  models: {{base: {{fault: {{kind: {first}, attempts: 1}}}}}}
  tuned:
    base: {{init: {{part: models}}}}
    axes:
      from:
        baseline: models
        values:
          models: {{fault: {{kind: {second}, step: 3, attempts: 1}}}}
          tuned: {{init: {{part: tuned}}}}
metrics: {{score: {{from: best, direction: max}}, distance: {{direction: min}}}}
resources: {{retries: 1}}
"""


def test_workers_and_driver_killed_between_the_stages(cluster: Standing, tmp_path: Path) -> None:
    far, near = Play(tmp_path / "ray", seeds=2), Play(tmp_path / "inline", seeds=2)
    far.file.write_text(STAGES.format(task=toy.TASK, side=far.place, first="kill", second="hang"))
    near.file.write_text(STAGES.format(task=toy.TASK, side=near.place, first="none", second="none"))
    assert near.start("--on", "inline").wait(240) == 0, near.said
    driver = far.start(*on(cluster))
    until("the first stage", lambda: far.done() == 2 or driver.poll() is not None)
    until("two at work", lambda: len(far.workers()) == 2 or driver.poll() is not None)
    assert far.kill_worker(random.Random(0)), far.said
    driver.kill()
    driver.wait()
    assert far.start(*on(cluster)).wait(240) == 0, far.said
    frames = [comparable(play.frame(), "attempts") for play in (far, near)]
    assert frames[0] == frames[1]
    assert {row["status"] for row in frames[0]} == {"done"}
    assert "OVERLAP" not in far.completed.read_text()
    assert len(far.completed.read_text().splitlines()) == 6


def test_seeds_until_decided_by_a_driver_that_is_killed(cluster: Standing, tmp_path: Path) -> None:
    far, near = Play(tmp_path / "ray", seeds=3), Play(tmp_path / "inline", seeds=3)
    for play in (far, near):
        play.file, play.cwd = growing.write(play.place, seconds=0.02), play.place
    driver = far.start(*on(cluster), "--until", "decided")
    until("the first look", lambda: list(far.store.root.glob("*/decisions.json")) or driver.poll() is not None)
    assert driver.poll() is None, far.said
    driver.kill()
    driver.wait()
    assert near.start("--on", "inline", "--until", "decided").wait(240) == 0, near.said
    assert far.start(*on(cluster), "--until", "decided").wait(240) == 0, far.said
    assert "verdicts  4 decided, 1 futile (hopeless)" in far.said
    assert growing.outcome(far.store.root) == growing.outcome(near.store.root)


def test_ctrl_c_leaves_nothing_on_the_cluster(cluster: Standing, tmp_path: Path) -> None:
    play = Play(tmp_path, seeds=1, steps=2000, seconds=0.05)
    driver = play.start(*on(cluster))
    until("four at work", lambda: len(play.workers()) == 4 or driver.poll() is not None)
    until("steps", lambda: play.steps() > 8 or driver.poll() is not None)
    workers = play.workers()
    assert len(workers) == 4, play.said
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(240) == 130, play.said
    assert not any(map(is_alive, workers))
    assert "Traceback" not in play.said
    states = [play.store.trial(folder.name).state().status for folder in play.store.trials.iterdir()]
    assert sorted(states) == ["planned"] * 2 + ["stopped"] * 4
    assert not list(play.store.study("play").glob(".ray*"))
    assert not [each for each in session.driver_folders().values() if each.startswith(f"{driver.pid}:")]


def test_a_lost_node(cluster: Standing, tmp_path: Path) -> None:
    """Trials resume on the other node; a trial that needs both nodes fails with the reason."""
    play = Play(tmp_path, seeds=1, steps=60, seconds=0.1)
    driver = play.start(*on(cluster))

    def four_have_begun() -> bool:
        trials = play.workers().values()
        return len(trials) == 4 and all(play.steps(trial) > 2 for trial in trials)

    until("steps of four", lambda: four_have_begun() or driver.poll() is not None)
    cluster.lose(1)
    try:
        assert driver.wait(240) == 0, play.said
    finally:
        cluster.nodes.append(cluster.add())
    assert {row["status"] for row in play.frame()} == {"done"}
    logs = [file.read_text() for file in play.store.trials.glob("*/attempts/1/log.txt")]
    assert len(logs) >= 2
    assert all("resumed before step" in log for log in logs)
    assert "OVERLAP" not in play.completed.read_text()


def test_requests_that_no_node_can_hold(visit: RayLauncher, cluster: Standing) -> None:
    size = rf"; the Ray cluster at {cluster.address} has 3 nodes, 4 cores, 2 GPUs$"
    assert visit.capacity(Resources()) == 4
    assert visit.capacity(Resources(gpus=0.5)) == 4
    assert visit.capacity(Resources(cpus=2)) == 2
    assert visit.capacity(Resources(nodes=2)) == 2
    for resources, text in (
        (Resources(cpus=3), "a trial asks for 3 cores, its largest node has 2 cores"),
        (Resources(gpus=4, cpus=1), "a trial asks for 4 cores, its largest node has 2 cores"),
        (Resources(gpus=2), "a trial asks for 2 GPUs, its largest node has 1 GPU"),
        (Resources(nodes=3), "a trial asks for 3 nodes with 1 core each"),
        (Resources(memory_gb=1e6), "a trial asks for 1000000.0 GB of memory, its largest node has"),
    ):
        with pytest.raises(LaunchError, match=f"^{text}.*{size}"):
            visit.capacity(resources)


def test_a_job_whose_nodes_have_gone_is_given_back(
    visit: RayLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.engine.launchers.ray.launcher.NODE_POLL_SECONDS", 0.0)
    store = Store(tmp_path / "results")
    folders = toy.place(store, *(toy.trial(f"t{i}", steps=9999, seconds=0.05) for i in range(5)))
    handles = visit.submit([Job((folder.path,), Resources()) for folder in folders])
    until("four at work", lambda: sum(folder.state().step > 0 for folder in folders) == 4)
    waiting = next(handle for handle, state in visit.poll(handles).items() if state == "waiting")
    monkeypatch.setattr(visit, "_alive_nodes", lambda: [{"CPU": 0.5}])
    assert visit.poll([waiting]) == {waiting: "gone"}
    assert "a trial asks for 1 core, its largest node has 0.5 cores" in waiting.exit_note
    visit.stop(handles)
    until("all gone", lambda: set(visit.poll([h for h in handles if h is not waiting]).values()) == {"gone"})
    assert sorted(folder.state().status for folder in folders) == ["planned", *["stopped"] * 4]


def test_a_dead_head_is_one_line_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        dead = f"127.0.0.1:{held.getsockname()[1]}"
    began = time.monotonic()
    for address in (dead, f"ray://{dead}"):
        with pytest.raises(LaunchError, match=rf"^no Ray cluster answers at {address} \(.*refused\)$"):
            create_launcher("ray", LaunchContext(tmp_path, tmp_path, {"address": address}))
    with pytest.raises(LaunchError, match="is no address of a Ray cluster"):
        find_cluster("somewhere")
    assert time.monotonic() - began < 10


def test_an_address_where_something_else_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("Ray", packages=("ray",))
    monkeypatch.setattr(session, "ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(LaunchError, match=f"^what answers at {address} is no Ray head"):
            create_launcher("ray", LaunchContext(tmp_path, tmp_path, {"address": address}))


def test_auto_finds_what_ray_start_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as held:
        threading.Thread(target=held.accept, daemon=True).start()
        address = f"127.0.0.1:{held.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert find_cluster("auto") == address
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with pytest.raises(LaunchError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 "):
            find_cluster("auto")


def test_a_node_that_does_not_see_the_results_folder() -> None:
    pid, note = make_remote_function(Path("/nowhere/code"))([], {}, "")
    assert pid == 0
    assert note == f"{socket.gethostname()} does not see /nowhere/code: all nodes must share the results folder"


def test_memory_that_always_runs_out_ends_by_the_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's monitor is set so that it kills whatever runs; Ray itself would try for ever."""
    need("a Ray cluster", packages=("ray",))
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "4000")
    with standing(nodes=1) as greedy:
        play = Play(tmp_path, seeds=1, steps=200, seconds=0.1)
        one = ("--only", "depth=1", "--only", "shape=round")
        assert play.start("--on", "ray", "--address", greedy.address, *one).wait(240) == 1, play.said
    (state,) = [play.store.trial(folder.name).state() for folder in play.store.trials.iterdir()]
    early = "workers exit before starting a trial: out of memory" in play.said  # on a busy machine
    assert early or (state.status, state.attempt, state.reason) == ("failed", 2, "oom"), play.said
    assert state.attempt <= 2


def test_classify_on_two_nodes_has_the_curve_of_one_process(
    cluster: Standing, visit: RayLauncher, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    trials = [trial("one", {"model": EVIT}), trial("two", {"model": EVIT}, nodes=2)]
    watch = StateWatcher(toy.place(store, *trials))
    loop = Driver(trials, watch, visit, StopRequest(), print)
    until("both", lambda: not loop._step())
    assert {name: state.status for name, state in watch.poll().items()} == {"one": "done", "two": "done"}
    assert "batch of 16 torch.float64" in log(store, "two")
    assert apart(curve(store, "one"), curve(store, "two")) < 1e-6
    until("the jobs to end", lambda: loop._jobs.poll(loop._total_attempts, False) or not loop._jobs.handles)
    table = visit._ray.util.placement_group_table
    until("their room to be given back", lambda: {group["state"] for group in table().values()} == {"REMOVED"})
