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

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchContext, LaunchError
from studies.engine.jobs.worker_group import start_workers
from studies.engine.jobs.worker_process import (
    STOP_GRACE_SECONDS,
    driver_id,
    time_limit,
    worker_command,
    worker_environment,
)
from studies.engine.runtime import worker
from studies.engine.storage.code_snapshot import root
from studies.engine.storage.trial_folder import TrialFolder


def create(site: LaunchContext) -> InlineLauncher:
    return InlineLauncher(site.stop)


class InlineLauncher:
    """Each `poll` runs one trial, so the driver looks around between two."""

    name = "inline"
    work_stealing = True
    trials_per_job = 1
    interval = 0.0

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def capacity(self, resources: Resources) -> int:
        if resources.nodes > 1:
            raise LaunchError(f"a trial asks for {resources.nodes} nodes, inline has this machine only")
        if resources.gpus > 1 and resources.gpus > gpu_count():
            raise LaunchError(f"a trial asks for {resources.gpus:g} GPUs, this machine has {gpu_count()}")
        if resources.gpus > 0 and not has_gpu():
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
                worked = self._run_next(left.pop(0), handle)
        return {h: "running" if h.native and not self._stop else "gone" for h in handles}

    def _run_next(self, folder: TrialFolder, handle: Handle) -> bool:
        job = handle.job
        if job.resources.world > 1:
            self._run_group(handle)
            return True
        minutes = job.resources.minutes
        set_threads(max(1, job.resources.cpus))
        return worker.run_attempt(folder, self._stop, job.device, inline=True, minutes=minutes) is not None

    def _run_group(self, handle: Handle) -> None:
        """For the processes of a trial; the driver's other work waits too, as it does for a trial in this process."""
        environment = {**worker_environment(handle.job, root()), **time_limit(handle.job), "DYNVIT_DRIVER": driver_id()}
        process = start_workers(worker_command(handle.job), environment, handle.job.resources)
        asked: float | None = None
        try:
            while process.alive():
                if self._stop and asked is None:
                    asked = time.monotonic()
                    process.request_stop()
                if asked is not None and time.monotonic() - asked > STOP_GRACE_SECONDS:
                    process.kill()
                time.sleep(0.05)
        finally:
            process.kill()
        handle.pid, handle.exit_note = process.pid, process.note()

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """The trial under way sees it at its next step. What kills here is the second Ctrl-C itself."""
        self._stop.request()

    def close(self) -> None:
        return None


def gpu_count() -> int:
    """Of this machine, as its driver lists them."""
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in told.splitlines())


def set_threads(threads: int) -> None:
    """As the other launchers do for their workers; threads beyond a trial's cores wait for each other."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):  # an earlier trial has loaded it, and it has read these
        torch.set_num_threads(threads)


def has_gpu() -> bool:
    """Whether there may be a GPU at all; a container may hold one without its maker's tools."""
    return any(next(Path("/dev").glob(name), None) for name in ("nvidia[0-9]*", "kfd", "dxg")) or gpu_count() > 0
