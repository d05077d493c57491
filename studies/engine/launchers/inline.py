"""Trials in this process, one after another: for debugging, CI, and machines with nothing else installed.

For a trial of several processes, this process starts all of them and waits.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from studies.engine.core.processes import command_output
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchContext, LaunchError
from studies.engine.jobs.worker_group import WorkerGroup
from studies.engine.jobs.worker_process import STOP_GRACE_SECONDS
from studies.engine.runtime import worker
from studies.engine.storage.code_snapshot import root
from studies.engine.storage.trial_folder import TrialFolder


def create(site: LaunchContext) -> InlineLauncher:
    return InlineLauncher(site.stop)


class InlineLauncher:
    """Each `poll` runs one trial, so that the driver acts between two."""

    name = "inline"
    work_stealing = True
    trials_per_job = 1
    interval = 0.0

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def capacity(self, resources: Resources) -> int:
        if resources.nodes > 1:
            raise LaunchError(f"a trial asks for {resources.nodes} nodes, inline has this machine only")
        if resources.gpus > (visible := visible_gpus()):
            shown = f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} leaves {visible:g}"
            raise LaunchError(f"a trial asks for {resources.gpus:g} GPU{'s' * (resources.gpus > 1)}, {shown}")
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
        """Run a trial's processes; blocks the driver, as a trial in this process does."""
        process = WorkerGroup(handle.job, root())
        stopping_since: float | None = None
        try:
            while process.alive():
                if self._stop and stopping_since is None:
                    stopping_since = time.monotonic()
                    process.request_stop()
                if stopping_since is not None and time.monotonic() - stopping_since > STOP_GRACE_SECONDS:
                    process.kill()
                time.sleep(0.05)
        finally:
            process.kill()
        handle.pid, handle.exit_note = process.pid, process.note()

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """Stop the running trial at its next step; to kill it, the user presses Ctrl-C twice."""
        self._stop.request()

    def close(self) -> None:
        return None


def gpu_count() -> int:
    """Return the number of this machine's GPUs, as nvidia-smi lists them."""
    return sum(line.startswith("GPU ") for line in command_output("nvidia-smi", "-L").splitlines())


def visible_gpus() -> float:
    """Return how many GPUs CUDA_VISIBLE_DEVICES leaves to this process; no limit without it."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return math.inf
    names = [name.strip() for name in listed.split(",")]
    return next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))  # CUDA reads no further


def set_threads(threads: int) -> None:
    """Limit threads to a trial's cores, as the other launchers do for their workers."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):  # loaded by an earlier trial, it has read the variables already
        torch.set_num_threads(threads)


def has_gpu() -> bool:
    """Return whether there may be a GPU; a container may have one without nvidia-smi."""
    return any(next(Path("/dev").glob(name), None) for name in ("nvidia[0-9]*", "kfd", "dxg")) or gpu_count() > 0
