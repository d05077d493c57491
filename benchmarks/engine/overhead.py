"""The engine's own cost: per trial of a task that does nothing, of `status`, and of `run` on a finished study.

    python benchmarks/engine/overhead.py [--trials 115]

Seconds are wall clock; CPU seconds are given too, as they do not depend on the machine's other load.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TASK = """
from dataclasses import dataclass

REVISION, SMOKE = 1, {}


@dataclass(frozen=True)
class Config:
    level: int = 0


def run(config, context):
    context.log(1, {"val.score": float(config.level)}, steps=1)
    return {"metrics": {"best": {"score": float(config.level)}}, "cost": {"seconds": 0.0}}
"""
STUDY = """
study: nothing
title: Trials that take no time
task: nothing.py
seeds: [0, 1, 2, 3, 4]
axes: {{level: {{key: level, values: {levels}, baseline: 0}}}}
design: [{{grid: [level]}}]
metrics: {{score: {{from: best, direction: max}}}}
resources: {{retries: 0}}
"""


def timed(do: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds, children included."""

    def cpu() -> float:
        return sum(
            u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        )

    wall, before = time.perf_counter(), cpu()
    do()
    return time.perf_counter() - wall, cpu() - before


def trials_alone(place: Path, count: int) -> tuple[float, float]:
    """Per trial, in this process: claim, attempt, log, result, state, and the driver's loop around them."""
    sys.path.insert(0, str(ROOT))
    from studies.engine.core.stop import StopRequest
    from studies.engine.core.trial import Arm, Resources, Trial
    from studies.engine.execution.driver import Driver
    from studies.engine.jobs.launcher import LaunchContext, create_launcher
    from studies.engine.storage.results_dir import Store
    from studies.engine.storage.state_watcher import StateWatcher

    store = Store(place / "alone")
    task = str(place / "nothing.py")

    def trials(name: str, number: int) -> list[Trial]:
        arm = Arm("nothing", "baseline", (), {}, True, ())
        return [Trial(f"{name}{i}", f"{name}{i}", arm, i, task, {"level": i}, {}, Resources()) for i in range(number)]

    def run(wanted: list[Trial]) -> None:
        for trial in wanted:
            store.trial(trial.folder_id).create(trial.spec())
        watch = StateWatcher([store.trial(trial.folder_id) for trial in wanted])
        outcome = Driver(
            wanted, watch, create_launcher("inline", LaunchContext(store.root, place, {})), StopRequest(), print
        ).run()
        assert {state.status for state in outcome.states.values()} == {"done"}

    run(trials("first", 1))  # what is asked once per process: packages, git
    wall, cpu = timed(lambda: run(trials("t", count)))
    return wall / count, cpu / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=115)
    count = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "nothing.py").write_text(TASK)
        study = place / "nothing.yaml"
        study.write_text(STUDY.format(levels=list(range(max(1, count // 5)))))

        def typed(*words: str) -> Callable[[], object]:
            command = [sys.executable, "-m", "studies", *words, "--results", str(place / "results")]
            quiet = {"stdout": subprocess.DEVNULL, "cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
            return lambda: subprocess.run(command, check=True, **quiet)  # type: ignore[call-overload]

        show(f"a trial of nothing, inline ({count})", *trials_alone(place, count), below=0.020)
        show("run, all of them, tables and MLflow", *timed(typed("run", str(study), "--on", "inline")))
        show("run again, finished", *timed(typed("run", str(study), "--on", "inline")), below=3.0)
        show("status", *timed(typed("status", "nothing")), below=0.5)


def show(what: str, wall: float, cpu: float, below: float | None = None) -> None:
    aim = f"   aim {below:g} s" if below else ""
    print(f"{what:42}{wall:8.3f} s   cpu {cpu:7.3f} s{aim}", flush=True)


if __name__ == "__main__":
    main()
