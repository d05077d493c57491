"""What the SLURM tests share: a driver beside the test, and ways to see and to disturb what it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farm import Farm

from studies.engine.launchers.slurm.submissions import Submission, read_submissions
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

HERE = Path(__file__).parent
CALM = {"exclude": "n[3-5]"}
"""Keeps a scene off the nodes that others preempt and kill."""
UNTIL_SIGNALLED = {"fault": "hang", "attempts": 1, "step": 4, "steps": 6}
"""A first attempt that does not end by itself, however long it takes to disturb it."""
LONG = {"steps": 16, "seconds": 0.25}
OFTEN = {"poll_seconds": 1, "time": 30, "signal_seconds": 10}


def until(what: str, condition: Callable[[], Any], seconds: float = 600) -> Any:
    """The condition's value, once it is true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"gave up after {seconds:g} s waiting for {what}"
        time.sleep(0.1)
    return value


def toy(play: Play, name: str, **config: object) -> dict[str, object]:
    return {"name": name, "side": str(play.side), **config}


class Play:
    """Toy trials on a farm, driven by a process of its own."""

    def __init__(self, farm: Farm, folder: Path, study: str = "toy", **options: Any) -> None:
        self.farm, self.folder, self.study = farm, folder, study
        self.options = {**OFTEN, **CALM, **options}
        self.store = Store(folder / "results")
        self.side = folder / "side"
        self.side.mkdir(parents=True, exist_ok=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "COV_"))},
            "SLURM_CONF": farm.conf,
            "PYTHONPATH": f"{HERE.parents[1]}:{HERE.parent / 'engine' / 'support'}",
            "DYNVIT_HEARTBEAT": "1",
            "DYNVIT_CHECKPOINT_MINUTES": "0",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *trials: dict[str, Any], on: str = "slurm", detach: bool = False) -> subprocess.Popen[str]:
        request = self.folder / "request.json"
        (self.folder / "outcome.json").unlink(missing_ok=True)
        listed = [{"resources": {"retries": 1}, **trial} for trial in trials]
        asked = {"results": str(self.store.root), "study": self.study, "on": on, "options": self.options}
        request.write_text(json.dumps({**asked, "detach": detach, "trials": listed}))
        with open(self.folder / "said", "a") as said:
            return subprocess.Popen(
                [sys.executable, str(HERE / "drive_toys.py"), str(request)],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def end(self, driver: subprocess.Popen[str], seconds: float = 600.0) -> dict[str, Any]:
        """The outcome."""
        try:
            driver.wait(seconds)
        except subprocess.TimeoutExpired:
            driver.kill()
            raise AssertionError(f"the driver did not end; it said:\n{self.said}") from None
        outcome = self.folder / "outcome.json"
        assert outcome.exists(), self.said
        return dict(json.loads(outcome.read_text()))

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def studies(self, *arguments: str, seconds: float = 600.0) -> subprocess.CompletedProcess[str]:
        """The command line."""
        return subprocess.run(
            [sys.executable, "-m", "studies", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )

    def background(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The command line, beside the test."""
        command = [sys.executable, "-m", "studies", *arguments]
        with open(self.folder / "said", "a") as said:
            return subprocess.Popen(
                command, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )

    def trial(self, name: str) -> TrialFolder:
        return self.store.trial(name)

    def reach(self, name: str, step: int) -> TrialFolder:
        """Wait until the trial has logged that step."""
        folder = self.trial(name)
        until(f"step {step} of {name}; {self.said}", lambda: any(event.step >= step for event in folder.events()))
        return folder

    def job(self, name: str) -> str:
        """The id of the job that has the trial."""
        return until(f"a job of {name}", lambda: self._job(name))

    def _job(self, name: str) -> str:
        found: list[tuple[Submission, int]] = [
            (record, task)
            for record in read_submissions(self.store.root)
            for task, n in enumerate(record.tasks)
            if name in n
        ]
        newest = max(found, key=lambda pair: pair[0].submitted, default=None)
        return newest[0].job(newest[1]) if newest and newest[0].array else ""

    def kill(self, name: str) -> None:
        """The whole job of a running trial, by SIGKILL: first what watches the worker, then the worker."""
        worker = self.trial(name).state().pid
        watcher = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in (watcher, worker):
            os.kill(pid, signal.SIGKILL)

    def state(self, job: str) -> str:
        return self.farm.command("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").partition("\n")[0]

    def node(self, job: str) -> str:
        return self.farm.command("squeue", "-h", "-j", job, "-o", "%N")

    def log(self, name: str) -> str:
        """All attempts' logs."""
        files = sorted(self.trial(name).path.glob("attempts/*/log.txt"), key=lambda f: int(f.parent.name))
        return "\n".join(file.read_text() for file in files)

    def check(self, outcome: dict[str, Any], attempts: dict[str, int]) -> None:
        """Every trial done, after that many attempts, completed once, and never two at work on one."""
        states = {name: (state["status"], state["attempt"]) for name, state in outcome["states"].items()}
        assert states == {name: ("done", number) for name, number in attempts.items()}, self.said
        completed = (self.side / "completed").read_text().splitlines()
        assert sorted(line.partition(" ")[0] for line in completed) == sorted(attempts), completed

    def queued(self) -> list[str]:
        """Jobs of this play that are still in the queue."""
        lines = self.farm.command("squeue", "-h", "-r", "-o", "%j").splitlines()
        return [line for line in lines if line.rpartition("-")[0] == self.study]
