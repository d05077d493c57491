"""A long run of many SLURM jobs by a simulated scheduler: what the driver costs, and whether every trial ends once.

    python benchmarks/engine/full_queue.py [--jobs 5000] [--minutes 10] [--nodes 200] [--lost 0.02] [--seed 0]

`sbatch` and `squeue` are the stand-ins of tests/engine/support/simulated_slurm.py with a queue that moves: nodes take
the oldest jobs, a job runs for a drawn time and then does its trial's work at once, in this process, by the worker's
own code. Of the jobs a share is lost in the midst (NODE_FAIL) after the trial has begun, and leaves the queue. Ended
jobs are listed for 30 s more, as SLURM does.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "engine" / "support")]
LISTED_SECONDS, STEP_SECONDS = 30.0, 1.0
STUDY = """
study: many
task: toy_task.py
seeds: {seeds}
base: {{train.steps: 2, side: {side}}}
resources: {{retries: 5}}
axes: {{lr: {{key: train.lr, values: [0.05, 0.1, 0.15, 0.2, 0.25], baseline: 0.1}}}}
metrics: {{score: {{from: best}}}}
"""
SQUEUE = """#!/bin/sh
date +%s.%N >> "$SIMULATED/asked"
[ -e "$SIMULATED/submitted" ] || exit 0
awk 'FNR == NR {if (FNR == 1) taken = $1; else print; next}
     FNR > taken && $3 == "none" {print $1 "|" $2 "|PENDING||Priority"}
     FNR > taken && $3 != "none" {for (i = 0; i <= $3; i++) print $1 "_" i "|" $2 "|PENDING||Priority"}' \\
  "$SIMULATED/queue" "$SIMULATED/submitted"
"""
"""What was submitted is listed at once, also before `Scheduler.step` has taken it."""


@dataclass
class Job:
    id: str
    name: str
    trial: str
    state: str = "PENDING"
    until: float = float("inf")
    """When its state changes."""

    @property
    def line(self) -> str:
        return f"{self.id}|{self.name}|{self.state}|{'node1' if self.state != 'PENDING' else ''}|None"


class Scheduler:
    """The queue. nodes: jobs at a time. seconds: how long a job runs on average. lost: share of jobs that die."""

    def __init__(self, folder: Path, results: Path, nodes: int, seconds: float, lost: float, seed: int) -> None:
        self.folder, self.results, self.nodes, self.seconds, self.lost = folder, results, nodes, seconds, lost
        self.random, self.read, self.jobs, self.deaths = random.Random(seed), 0, list[Job](), 0

    def step(self) -> None:
        now = time.monotonic()
        self._take_submissions()
        for job in self.jobs:
            if job.state == "RUNNING" and job.until <= now and time.monotonic() < now + STEP_SECONDS:
                job.state = self._end(job)
                job.until = now + LISTED_SECONDS
        self.jobs = [job for job in self.jobs if job.state in ("PENDING", "RUNNING") or job.until > now]
        free = self.nodes - sum(job.state == "RUNNING" for job in self.jobs)
        for job in [job for job in self.jobs if job.state == "PENDING"][:free]:
            job.state, job.until = "RUNNING", now + self.random.expovariate(1 / self.seconds)
        (self.folder / "queue.new").write_text("\n".join([str(self.read), *(job.line for job in self.jobs), ""]))
        os.replace(self.folder / "queue.new", self.folder / "queue")

    def _take_submissions(self) -> None:
        from studies.engine.launchers.slurm.submissions import read_submissions

        lines = (self.folder / "submitted").read_text().splitlines() if (self.folder / "submitted").exists() else []
        if not lines[self.read :]:
            return
        records = {record.name: record for record in read_submissions(self.results)}
        for line in lines[self.read :]:
            number, name, last = line.split()
            for task, trials in enumerate(records[name].tasks):
                self.jobs.append(Job(number if last == "none" else f"{number}_{task}", name, trials[0]))
        self.read = len(lines)

    def _end(self, job: Job) -> str:
        """Do the trial's work, or die in its midst as a node does; return the state of the job."""
        from studies.engine.core.stop import StopRequest
        from studies.engine.runtime.worker import run_attempt
        from studies.engine.storage.results_dir import Store

        trial = Store(self.results).trial(job.trial)
        if self.random.random() >= self.lost:
            return "COMPLETED" if run_attempt(trial, StopRequest()) == "done" else "FAILED"
        self.deaths += 1
        if not (child := os.fork()):
            run_attempt(trial, StopRequest())
            os._exit(0)
        time.sleep(self.random.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "NODE_FAIL"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=10.0, help="in which the nodes could do all of them")
    parser.add_argument("--nodes", type=int, default=200)
    parser.add_argument("--lost", type=float, default=0.02, help="share of jobs that die in the midst")
    parser.add_argument("--poll", type=float, default=15.0, help="seconds between questions to the scheduler")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), wanted)


def measure(place: Path, wanted: argparse.Namespace) -> None:
    import simulated_slurm

    environment = {**os.environ, "PYTHONPATH": str(ROOT), **simulated_slurm.install(place / "simulated")}
    (place / "simulated" / "squeue").write_text(SQUEUE)
    (place / "side").mkdir()
    (place / "toy_task.py").write_text((ROOT / "tests" / "toy_task.py").read_text())
    (place / "many.yaml").write_text(STUDY.format(seeds=list(range(wanted.jobs // 5)), side=place / "side"))
    mean = wanted.minutes * 60 * wanted.nodes / wanted.jobs
    queue = Scheduler(place / "simulated", place / "results", wanted.nodes, mean, wanted.lost, wanted.seed)
    words = ("run", "many.yaml", "--on", "slurm", "--launch", f"poll_seconds={wanted.poll}", "--results", "results")
    start, said = time.monotonic(), open(place / "said.txt", "w+")  # noqa: SIM115
    driver = subprocess.Popen(
        [sys.executable, "-m", "studies", *words], cwd=place, env=environment, stdout=said, stderr=subprocess.STDOUT
    )
    while driver.poll() is None:
        queue.step()
        time.sleep(0.2)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    completed = [line.split()[0] for line in (place / "side" / "completed").read_text().splitlines()]
    asked = (place / "simulated" / "asked").read_text().split()
    said.seek(0)
    print("".join(line for line in said if " trials, " in line or line.startswith(("failed", "lost", "queue"))))
    print(f"seconds                     {time.monotonic() - start:.0f}")
    print(f"CPU seconds of the driver   {used.ru_utime + used.ru_stime:.1f}")
    print(f"peak MiB of the driver      {used.ru_maxrss / 1024:.0f}")
    print(f"questions to the scheduler  {len(asked)}")
    print(f"jobs that died              {queue.deaths}")
    print(f"trials completed            {len(set(completed) - {'OVERLAP'})} of {wanted.jobs // 5 * 5}")
    print(f"completed twice             {len(completed) - len(set(completed))}")
    print(f"two at once on one trial    {completed.count('OVERLAP')}")


if __name__ == "__main__":
    main()
