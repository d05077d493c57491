"""In this process, one trial after another: for debugging, CI, and machines with nothing else installed.

A trial that several processes train together gets them all from here, and this one waits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchError, Site
from studies.engine.jobs.together import start
from studies.engine.jobs.worker_process import GRACE, command, environ, limit, this_process
from studies.engine.runtime import worker
from studies.engine.runtime.context import Stop
from studies.engine.storage.code_snapshot import root
from studies.engine.storage.trial_folder import TrialFolder


def open(site: Site) -> Inline:
    return Inline(site.stop)


class Inline:
    """Each `poll` runs one trial, so the driver looks around between two."""

    name = "inline"
    steals = True
    pack = 1
    interval = 0.0

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def slots(self, resources: Resources) -> int:
        if resources.nodes > 1:
            raise LaunchError(f"a trial asks for {resources.nodes} nodes, inline has this machine only")
        if resources.gpus > 1 and resources.gpus > gpus():
            raise LaunchError(f"a trial asks for {resources.gpus:g} GPUs, this machine has {gpus()}")
        if resources.gpus > 0 and not accelerated():
            raise LaunchError(
                f"a trial asks for {resources.gpus:g} GPU, this machine has none; another --scale may need none"
            )
        return 1

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        return [Handle(job, [TrialFolder(folder) for folder in job.folders]) for job in jobs]

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        worked = False
        for handle in handles:
            left: list[TrialFolder] = handle.native
            while left and not self._stop and not worked:
                worked = self._work(left.pop(0), handle)
        return {h: "running" if h.native and not self._stop else "gone" for h in handles}

    def _work(self, folder: TrialFolder, handle: Handle) -> bool:
        job = handle.job
        if job.resources.world > 1:
            self._wait(handle)
            return True
        minutes = job.resources.minutes
        keep_to(max(1, job.resources.cpus))
        return worker.attempt(folder, self._stop, job.device, inline=True, minutes=minutes) is not None

    def _wait(self, handle: Handle) -> None:
        """For the processes of a trial; the driver's other work waits too, as it does for a trial in this process."""
        environment = {**environ(handle.job, root()), **limit(handle.job), "DYNVIT_DRIVER": this_process()}
        process = start(command(handle.job), environment, handle.job.resources)
        asked: float | None = None
        try:
            while process.alive():
                if self._stop and asked is None:
                    asked = time.monotonic()
                    process.ask()
                if asked is not None and time.monotonic() - asked > GRACE:
                    process.kill()
                time.sleep(0.05)
        finally:
            process.kill()
        handle.pid, handle.note = process.pid, process.note()

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """The trial under way sees it at its next step. What kills here is the second Ctrl-C itself."""
        self._stop.ask()

    def close(self) -> None:
        return None


def gpus() -> int:
    """Of this machine, as its driver lists them."""
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in told.splitlines())


def keep_to(threads: int) -> None:
    """As the other launchers do for their workers; threads beyond a trial's cores wait for each other."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):  # an earlier trial has loaded it, and it has read these
        torch.set_num_threads(threads)


def accelerated() -> bool:
    """Whether there may be a GPU at all; a container may hold one without its maker's tools."""
    return any(next(Path("/dev").glob(name), None) for name in ("nvidia[0-9]*", "kfd", "dxg")) or gpus() > 0
