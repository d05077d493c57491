"""kill -9 of the driver and of workers at random moments, and workers that are suspended for longer than their claims
live: the study completes, nothing is lost or counted twice. DYNVIT_KILLS sets how many (``benchmarks/chaos.py``)."""

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
from collections import Counter
from pathlib import Path

import pytest
import toy

from studies.engine.core.processes import is_alive
from studies.engine.storage.results_dir import Store

ROOT = Path(__file__).parents[3]
ON = ("--on", "local")
KILLS, SEEDS = int(os.environ.get("DYNVIT_KILLS", "20")), 8
STEPS = max(30, 3 * KILLS // 2)
VICTIMS = ["worker", "driver", "suspended"]
STUDY = """
study: hunted
title: Does it survive?
task: {task}
seeds: {seeds}
base: {{train: {{steps: {steps}, seconds: 0.04}}, side: {side}}}
axes:
  depth: {{key: depth, values: [1, 2], baseline: 1}}
design: [{{grid: [depth]}}]
metrics: {{score: {{from: best, direction: max}}, distance: {{direction: min}}}}
resources: {{retries: 100}}
"""


class Hunt:
    """A study, the process that drives it, and somebody who kills."""

    def __init__(self, place: Path) -> None:
        self.place, self.store = place, Store(place / "results")
        self.study = place / "hunted.yaml"
        text = STUDY.format(task=toy.TASK, seeds=list(range(SEEDS)), steps=STEPS, side=place)
        self.study.write_text(text)
        self.driver: subprocess.Popen[bytes] | None = None
        self.kills: Counter[str] = Counter()
        self.suspended: set[str] = set()
        """Trials of suspended workers: two processes may have one open, of which one cannot write."""

    def start(self) -> subprocess.Popen[bytes]:
        if self.driver is None or self.driver.poll() is not None:
            with open(self.place / "driver.log", "ab") as log:
                self.driver = subprocess.Popen(
                    [sys.executable, "-m", "studies", "run", str(self.study), "--results", str(self.store.root), *ON],
                    cwd=ROOT,
                    env={**os.environ, "DYNVIT_HEARTBEAT": "0.2", "DYNVIT_CHECKPOINT_MINUTES": "0"},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        return self.driver

    def workers(self) -> dict[int, str]:
        """Return process id -> trial."""
        pids = {}
        for file in self.store.trials.glob("*/claim"):
            try:
                pids[int(json.loads(file.read_text())["pid"])] = file.parent.name
            except (OSError, ValueError):
                continue
        return {pid: trial for pid, trial in pids.items() if is_alive(pid)}

    def kill(self, chance: random.Random) -> None:
        """A worker, or the driver: some time after it started, or after its workers did."""
        driver, victim = self.start(), chance.choice(VICTIMS)
        if victim != "driver" or chance.random() < 0.5:
            until = time.monotonic() + 20
            while not self.workers() and driver.poll() is None and time.monotonic() < until:
                time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.8))
        workers = self.workers()
        if victim == "worker" and workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(list(workers)), signal.SIGKILL)
                self.kills[victim] += 1
        elif victim == "suspended" and workers:
            pid = chance.choice(list(workers))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.suspended.add(workers[pid])
                time.sleep(chance.uniform(0.2, 2.5))  # a claim lives for one second
                os.kill(pid, signal.SIGCONT)
                self.kills[victim] += 1
        elif victim == "driver" and driver.poll() is None:
            driver.kill()
            driver.wait()
            self.kills[victim] += 1


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    chance, hunt = random.Random(seed), Hunt(tmp_path)
    while sum(hunt.kills.values()) < KILLS:
        hunt.kill(chance)
    assert min(hunt.kills[victim] for victim in VICTIMS) >= 2, (seed, hunt.kills)

    hunt.start().wait(240)  # it may have seen a suspended worker last
    code = hunt.start().wait(240)
    log = (tmp_path / "driver.log").read_text()
    assert code == 0, (seed, log[-2000:])
    assert not hunt.workers()

    with open(hunt.store.study("hunted") / "trials.csv") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 2 * SEEDS, seed
    assert {row["status"] for row in rows} == {"done"}, seed
    assert len({row["trial"] for row in rows}) == 2 * SEEDS, seed

    calm = Store(tmp_path / "calm")
    for row in rows:
        name = row["trial"]
        folder = hunt.store.trial(name)
        trial = toy.trial(name, seed=int(row["seed"]), depth=int(row["axis.depth"]), steps=STEPS)
        toy.drive(calm, [trial])
        undisturbed = calm.trial(name)
        assert folder.result()["metrics"] == undisturbed.result()["metrics"], (seed, name)  # type: ignore[index]
        assert [(e.step, e.metrics) for e in folder.events()] == [(e.step, e.metrics) for e in undisturbed.events()]
        logs = [file.read_text() for file in sorted((folder.path / "attempts").glob("*/log.txt"))]
        assert sum("done after" in log for log in logs) <= 1, (seed, name)

    completed = (tmp_path / "completed").read_text().split("\n")[:-1]
    overlaps = {line.split()[1] for line in completed if line.startswith("OVERLAP")}
    assert overlaps <= hunt.suspended, seed
    completed = [line for line in completed if not line.startswith("OVERLAP")]
    times = Counter(line.split()[0] for line in completed)
    assert set(times) == {row["trial"] for row in rows}, seed
    for name, count in times.items():
        # a kill between the task's last line and its result makes the next attempt complete it again, nothing else does
        attempts = [int(line.split()[1]) for line in completed if line.split()[0] == name]
        for attempt in attempts[:-1]:
            log = (hunt.store.trial(name).attempt_folder(attempt - 1) / "log.txt").read_text()
            assert "done after" not in log, (seed, name, count)
