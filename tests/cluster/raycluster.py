"""A standing Ray cluster on this machine, and drivers beside the test that work on it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from studies.engine.core.processes import is_alive
from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store

ROOT = Path(__file__).parents[2]
TASK = ROOT / "tests" / "toy_task.py"
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_raylet_start_wait_time_s": "120",  # the machine may be busy
    "RAY_enable_worker_prestart": "0",  # a trial has a process of its own; these would wait for none
    "RAY_prestart_worker_first_driver": "0",
}
QUICK = {"DYNVIT_HEARTBEAT": "0.2", "DYNVIT_CHECKPOINT_MINUTES": "0", "OMP_NUM_THREADS": "1"}
MEMORY = 80 * 2**20
BARE = """
from studies.engine.cli import finish_run as finish, main as cli
from studies.engine.tracking import mirror as track
finish.render = lambda store, folder, say: None
track.Mirror.update = track.Mirror.close = lambda self: True
cli.main()
"""
"""`studies` without tables and MLflow, which are not what is tested here."""
STUDY = """
study: {name}
title: On a cluster
task: {task}
seeds: {seeds}
base: {{train: {{steps: {steps}, seconds: {seconds}}}, side: {side}}}
axes:
  depth: {{key: depth, values: [1, 2, 3], baseline: 1}}
  shape: {{key: shape, values: [round, long], baseline: round}}
design: [{{grid: [depth, shape]}}]
metrics: {{score: {{from: best, direction: max}}, distance: {{direction: min}}}}
resources: {{retries: {retries}}}
"""
TIMES = ("cost.", "env.", "started", "ended")


class Standing:
    """A head without cores, and nodes that come and go."""

    def __init__(self, nodes: int = 2, **each: Any) -> None:
        from ray.cluster_utils import Cluster

        os.environ.update(SETTINGS)
        self._each = {"num_cpus": 2, "num_gpus": 1, **each}
        self._next = 3
        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        self.cluster = Cluster(initialize_head=True, head_node_args={"node_ip_address": "127.0.0.2", **head})
        self.nodes = [self.add() for _ in range(nodes)]
        self.address = str(self.cluster.address)

    def add(self) -> Any:
        """Each node has an address of its own. Ray gives a node 30 s to start, which a busy machine may not have."""
        while True:
            self._next += 1
            place = f"127.0.0.{self._next}"
            try:
                return self.cluster.add_node(node_ip_address=place, object_store_memory=MEMORY, **self._each)
            except Exception as error:
                if "timed out during startup" not in str(error) or self._next > 200:
                    raise

    def lose(self, index: int) -> None:
        self.cluster.remove_node(self.nodes.pop(index), allow_graceful=False)

    def stop(self) -> None:
        self.cluster.shutdown()


@contextlib.contextmanager
def standing(nodes: int = 2, **each: Any) -> Iterator[Standing]:
    before = {key: os.environ.get(key) for key in (*SETTINGS, *QUICK)}
    os.environ.update(QUICK)
    made = Standing(nodes, **each)
    try:
        yield made
    finally:
        made.stop()
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def until(what: str, true: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, f"gave up after {seconds:g} s waiting for {what}"
        time.sleep(0.05)
    return value


class Play:
    """A study of toy trials, and the process that drives it."""

    def __init__(
        self, place: Path, seeds: int, steps: int = 5, seconds: float = 0.0, retries: int = 1, whole: bool = False
    ) -> None:
        """whole: with tables and MLflow."""
        place.mkdir(exist_ok=True, parents=True)
        self.command = [sys.executable, *(("-m", "studies") if whole else ("-c", BARE))]
        self.place, self.store = place, Store(place / "results")
        self.file = place / "play.yaml"
        self.completed = place / "completed"
        self.cwd = ROOT
        text = STUDY.format(
            name="play", task=TASK, seeds=list(range(seeds)), steps=steps, seconds=seconds, side=place, retries=retries
        )
        self.file.write_text(text)
        self.driver: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Return the driver, a new one if there is none."""
        if self.driver is None or self.driver.poll() is not None:
            self.driver = self.another(*options)
        return self.driver

    def another(self, *options: str) -> subprocess.Popen[bytes]:
        with open(self.place / "said", "ab") as said:
            return subprocess.Popen(
                [*self.command, "run", str(self.file), "--results", str(self.store.root), *options],
                cwd=self.cwd,
                env={**os.environ, **QUICK, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    @property
    def said(self) -> str:
        return (self.place / "said").read_text()[-3000:]

    def workers(self) -> dict[int, str]:
        """Return process id -> trial."""
        pids = {}
        for file in self.store.trials.glob("*/claim"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                pids[int(json.loads(file.read_text())["pid"])] = file.parent.name
        return {pid: trial for pid, trial in pids.items() if is_alive(pid)}

    def done(self) -> int:
        return len(list(self.store.trials.glob("*/result.json")))

    def steps(self, trial: str = "*") -> int:
        return sum(file.read_bytes().count(b"\n") for file in self.store.trials.glob(f"{trial}/events.jsonl"))

    def frame(self) -> list[dict[str, str]]:
        """Without what is another one each time: times, hosts. The side folder is in the config, so ids differ too."""
        folder = self.store.study("play")
        collect(self.store, folder)
        with open(folder / "trials.csv") as file:
            return [{k: v for k, v in row.items() if not k.startswith(TIMES)} for row in csv.DictReader(file)]

    def kill_worker(self, chance: random.Random) -> bool:
        pids = self.workers()
        with contextlib.suppress(ProcessLookupError):
            if pids:
                os.kill(chance.choice(list(pids)), signal.SIGKILL)
                return True
        return False


def comparable(frame: list[dict[str, str]], *without: str) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in ("trial", *without)} for row in frame]
