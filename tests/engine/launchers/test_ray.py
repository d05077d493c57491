"""The Ray launcher on a real private cluster: crashes, GPU fractions, interruptions, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import toy

from studies.engine.core.processes import is_alive
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.execution.driver import Driver
from studies.engine.jobs.launcher import Job, LaunchContext, LaunchError, create_launcher
from studies.engine.jobs.worker_process import driver_id
from studies.engine.launchers.ray.launcher import RayLauncher
from studies.engine.launchers.ray.session import driver_folders, private_folder
from studies.engine.storage import code_snapshot
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[3]
QUICK = {"DYNVIT_HEARTBEAT": "0.2", "DYNVIT_CHECKPOINT_MINUTES": "0"}
BARE = """
from studies.engine.cli import finish_run as finish, main as cli
from studies.engine.tracking import mirror as track
finish.render = lambda store, folder, say: None
track.Mirror.update = track.Mirror.close = lambda self: True
cli.main()
"""
STUDY = """
study: rayed
title: On Ray
task: {task}
seeds: [0, 1, 2, 3]
base: {{train: {{steps: {steps}, seconds: 0.05}}, side: {side}}}
axes: {{depth: {{key: depth, values: [1], baseline: 1}}}}
design: [{{grid: [depth]}}]
metrics: {{score: {{from: best}}}}
resources: {{retries: 1}}
"""


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def folders_of(pid: int) -> list[Path]:
    return [folder for folder, driver in driver_folders().items() if driver.partition(":")[0] == str(pid)]


class Command:
    """``studies run`` in a process of its own."""

    def __init__(self, socket_dir: Path, steps: int) -> None:
        self.store = Store(socket_dir / "results")
        self.study = socket_dir / "rayed.yaml"
        self.study.write_text(STUDY.format(task=toy.TASK, steps=steps, side=socket_dir))
        self.started: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        self.started.append(
            subprocess.Popen(
                [sys.executable, "-c", BARE, "run", str(self.study), "--on", "ray", "--results", str(self.store.root)],
                cwd=ROOT,
                env={**os.environ, **QUICK},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        )
        return self.started[-1]

    def states(self) -> list[str]:
        return [self.store.trial(path.name).state().status for path in self.store.trials.iterdir()]

    def workers(self) -> list[int]:
        return [json.loads(claim.read_text())["pid"] for claim in self.store.trials.glob("*/claim")]

    def running(self) -> None:
        process = self.started[-1]
        steps = lambda: [self.store.trial(p.name).state().step for p in self.store.trials.glob("*")]  # noqa: E731
        until(lambda: process.poll() is not None or sum(step > 0 for step in steps()) >= 2)


@pytest.fixture
def command(tmp_path: Path) -> Callable[[int], Command]:
    return lambda steps: Command(tmp_path, steps)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Two cores and two counted GPUs."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in QUICK.items():
            patch.setenv(key, value)
        folder = tmp_path_factory.mktemp("ray")
        made = create_launcher("ray", LaunchContext(folder / "results", folder, {"num_cpus": 2, "num_gpus": 2}))
        yield made
        made.close()
    assert not folders_of(os.getpid())


def drive(cluster: RayLauncher, store: Store, *trials: object) -> dict[str, tuple[str, int]]:
    watch = StateWatcher(toy.place(store, *trials))  # type: ignore[arg-type]
    loop = Driver(trials, watch, cluster, StopRequest(), print)  # type: ignore[arg-type]
    until(lambda: not loop._step())
    return {name: (state.status, state.attempt) for name, state in watch.poll().items()}


def test_a_crash_takes_only_its_trial(cluster: RayLauncher, tmp_path: Path) -> None:
    store = Store(tmp_path)
    trials = [toy.trial(f"t{i}", seed=i) for i in range(4)]
    trials.insert(1, toy.trial("once", fault="kill", attempts=1))
    trials.insert(2, toy.trial("always", fault="exit", resources=Resources(retries=1)))
    found = drive(cluster, store, *trials)
    assert found.pop("once") == ("done", 2)
    assert found.pop("always") == ("lost", 2)
    assert set(found.values()) == {("done", 1)}
    inline = Store(tmp_path / "inline")
    toy.drive(inline, [toy.trial(f"t{i}", seed=i) for i in range(4)])
    names = [f"t{i}" for i in range(4)]
    assert toy.numbers(store, *names) == toy.numbers(inline, *names)


def test_what_a_worker_is_given(cluster: RayLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/apps/site-packages")
    store = Store(tmp_path)
    quarter, half = Resources(cpus=2), Resources(gpus=0.5)
    drive(cluster, store, toy.trial("cpu", fault="print", resources=quarter))
    drive(cluster, store, toy.trial("gpu", fault="print", resources=half))
    logs = [(store.trial(name).attempt_folder(0) / "log.txt").read_text() for name in ("cpu", "gpu")]
    code = cluster._code
    assert code.parent.name == "code"
    assert (code / "studies" / "engine" / "worker.py").exists()
    assert f"CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS='2' PYTHONPATH='{code}:/apps/site-packages'" in logs[0]
    assert "CUDA_VISIBLE_DEVICES='0' OMP_NUM_THREADS='1'" in logs[1] or "CUDA_VISIBLE_DEVICES='1'" in logs[1]
    assert store.trial("gpu").state().device == "cuda:0"


def test_slots_and_refusals(cluster: RayLauncher) -> None:
    assert cluster.capacity(Resources()) == 2
    assert cluster.capacity(Resources(cpus=2)) == 1
    assert cluster.capacity(Resources(gpus=1)) == 2
    assert cluster.capacity(Resources(gpus=0.5)) == 2, "the cores are the limit"
    with pytest.raises(LaunchError, match=r"a trial asks for 3 cores, Ray has 2 cores here"):
        cluster.capacity(Resources(cpus=3))
    with pytest.raises(LaunchError, match=r"a trial asks for 1000000.0 GB of memory, Ray has"):
        cluster.capacity(Resources(memory_gb=1e6))
    with pytest.raises(LaunchError, match=r"a trial asks for 8 cores, Ray has 2 cores here"):
        cluster.capacity(Resources(gpus=8))
    with pytest.raises(LaunchError, match=r"a trial asks for 2 nodes with 1 core each, Ray has one node here"):
        cluster.capacity(Resources(nodes=2))


def test_stop_and_kill(cluster: RayLauncher, tmp_path: Path) -> None:
    folders = toy.place(Store(tmp_path), toy.trial("a", steps=9999, seconds=0.02), toy.trial("b", fault="deaf"))
    handles = cluster.submit([Job((folder.path,), Resources()) for folder in folders])
    until(lambda: all(folder.state().step > 0 for folder in folders))
    cluster.stop(handles)
    until(lambda: cluster.poll(handles)[handles[0]] == "gone", 120)
    assert folders[0].state().status == "stopped"
    assert cluster.poll(handles[1:])[handles[1]] == "running"
    cluster.stop(handles[1:], kill=True)
    until(lambda: cluster.poll(handles[1:])[handles[1]] == "gone", 120)
    assert folders[1].state().status == "lost"


def test_a_job_that_waits_can_be_stopped(cluster: RayLauncher, tmp_path: Path) -> None:
    """Three want all cores; two of them must end without ever having started."""
    names = ("a", "b", "c")
    folders = toy.place(Store(tmp_path), *(toy.trial(name, steps=9999, seconds=0.02) for name in names))
    handles = cluster.submit([Job((folder.path,), Resources(cpus=2)) for folder in folders])
    until(lambda: any(folder.state().step > 0 for folder in folders))
    assert sorted(cluster.poll(handles).values()) == ["running", "waiting", "waiting"]
    cluster.stop(handles)
    until(lambda: set(cluster.poll(handles).values()) == {"gone"}, 120)
    assert sorted(folder.state().status for folder in folders) == ["planned", "planned", "stopped"]


def test_the_folder_of_a_cluster_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.engine.launchers.ray.session._socket_dir", lambda: tmp_path)
    dead, mine = private_folder("1999999999:5"), private_folder(driver_id())
    assert not dead.exists()
    assert (mine.parent, mine.stat().st_mode & 0o777) == (tmp_path, 0o700)
    (tmp_path / "dynvit-ray-of-nobody").mkdir()
    (tmp_path / "dynvit-ray-file").touch()
    assert private_folder(driver_id()) != mine  # no name that another could foresee
    assert mine in driver_folders()


def test_the_command_is_quiet_and_cleans_up(command: Callable[[int], Command], tmp_path: Path) -> None:
    typed = command(3)
    process = typed.start()
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out
    lines = out.splitlines()
    assert len(lines) == 7, out
    assert lines[0] == "plan      4 trials, ray"
    assert [line.split()[0] for line in lines[1:]] == ["done"] * 5 + ["mlflow"]
    assert not folders_of(process.pid)
    assert sorted((tmp_path / "completed").read_text().split()[1::2]) == ["1"] * 4
    assert list(typed.store.root.glob("code/*/dynvit/context.py"))


def test_ctrl_c_saves_and_nothing_stays(command: Callable[[int], Command]) -> None:
    typed = command(2000)
    process = typed.start()
    typed.running()
    workers = typed.workers()
    assert len(workers) == 2
    os.killpg(process.pid, signal.SIGINT)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert "ray::" not in out
    assert not any(map(is_alive, workers))
    assert sorted(typed.states()) == ["planned", "planned", "stopped", "stopped"]
    assert not folders_of(process.pid)


def test_a_killed_driver_takes_its_workers_along_and_the_next_goes_on(command: Callable[[int], Command]) -> None:
    typed = command(40)
    process = typed.start()
    typed.running()
    workers = typed.workers()
    process.kill()
    process.communicate(timeout=600)
    until(lambda: not any(map(is_alive, workers)), 120)
    assert set(typed.states()) <= {"stopped", "planned", "done", "lost"}
    process = typed.start()
    out = process.communicate(timeout=600)[0]
    assert process.returncode == 0, out
    assert typed.states() == ["done"] * 4
    assert "OVERLAP" not in (typed.study.parent / "completed").read_text()
    assert not folders_of(typed.started[0].pid)


def test_a_snapshot_does_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    for file in ("dynvit/a.py", "studies/engine/b.py", "studies/x.yaml", "other/c.py"):
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / file).write_text(file)
    monkeypatch.setattr(code_snapshot, "root", lambda: tree)
    monkeypatch.setattr(code_snapshot, "source", dict)  # else this process would keep that of the tree as its own
    code_snapshot.fingerprint.cache_clear()
    first = code_snapshot.take(tmp_path)
    assert sorted(str(p.relative_to(first)) for p in first.rglob("*.*")) == [
        "dynvit/a.py",
        "source.json",
        "studies/engine/b.py",
    ]
    assert code_snapshot.take(tmp_path) == first
    (tree / "dynvit/a.py").write_text("edited")
    code_snapshot.fingerprint.cache_clear()
    second = code_snapshot.take(tmp_path)
    assert second != first
    assert (first / "dynvit/a.py").read_text() == "dynvit/a.py"
