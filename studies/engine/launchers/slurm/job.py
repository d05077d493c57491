"""The body of a SLURM job: a worker process for each of its trials, in parallel. Standard library only.

Handlers only count signals: the workers save at their next step and end, and only then submitit's own handler requeues
the job. No driver needs to be running.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Job
from studies.engine.jobs.worker_process import WorkerProcess, worker_command, worker_environment
from studies.engine.launchers.slurm.submissions import Submission
from studies.engine.runtime.distributed import env
from studies.engine.storage.checkpoint import Checkpoint
from studies.engine.storage.lease import HEARTBEAT_SECONDS, STALE_AFTER
from studies.engine.storage.trial_folder import TrialFolder

FORMER_WORKER_SECONDS = STALE_AFTER * HEARTBEAT_SECONDS + 5
"""Seconds to wait for the trial's former worker, which may be saving, or dead with a lease not yet stale."""


@dataclass(frozen=True)
class Task:
    """Paths and resources only: code comes from the snapshot, state from the trial folders."""

    folders: tuple[Path, ...]
    resources: Resources
    record: Path
    code: Path

    def __call__(self) -> None:
        signals = SignalCounter()
        trials = [TrialFolder(folder) for folder in self.folders]
        first = not int(os.environ.get("SLURM_PROCID") or 0)
        if first and int(os.environ.get("SLURM_RESTART_COUNT") or 0):
            self._resume_after_requeue(trials)
        before = [Checkpoint(trial).digest() for trial in trials]
        self._run(trials, signals)
        if first and signals.should_requeue() and self._made_progress(trials, before):
            signals.former(signal.SIGUSR2, None)

    def _run(self, trials: list[TrialFolder], signals: SignalCounter) -> None:
        workers = [self._worker(index, trial) for index, trial in enumerate(trials)]
        forwarded = 0
        while any(worker.alive() for worker in workers):
            if signals.number != forwarded:
                forwarded = signals.number
                for worker in workers:
                    worker.request_stop()
            time.sleep(0.1)
        record = Submission(self.record, "", "", [])
        for trial, worker in zip(trials, workers, strict=True):
            worker.kill()
            note = worker.note()
            if note and not (signals.number and note.endswith("SIGTERM")):  # forwarded while it exited
                record.set_note(trial.id, note)
                print(f"trial {trial.id}: {note}", flush=True)

    def _worker(self, index: int, trial: TrialFolder) -> WorkerProcess:
        """Start a worker with its share of the job's devices and its rank."""
        job = Job((trial.path,), self.resources)
        given = {**worker_environment(job, self.code), **env.slurm_rank_environment(), "DYNVIT_SCHEDULED": "1"}
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        if self.resources.gpus > 0 and len(self.folders) > 1 and len(devices) > 1:
            given["CUDA_VISIBLE_DEVICES"] = ",".join(devices_of(index, self.resources, devices))
        return WorkerProcess(worker_command(job, until_empty=False), given)

    def _resume_after_requeue(self, trials: list[TrialFolder]) -> None:
        """After a requeue: wait for workers of the former run, then queue the trials that it lost."""
        until = time.monotonic() + FORMER_WORKER_SECONDS
        while any(trial.has_live_worker() for trial in trials) and time.monotonic() < until:
            time.sleep(0.5)
        for trial in trials:
            state = trial.state()
            if state.status == "lost" and self._count_requeues(trial) <= self.resources.retries:
                trial.set_state_if_idle(replace(state, status="queued"))

    def _count_requeues(self, trial: TrialFolder) -> int:
        """Count and return how often this job has queued a lost trial: without a driver only this limits it."""
        with open(self.record / f"{trial.id}.revived", "ab") as file:
            file.write(b".")
            return file.tell()

    def _made_progress(self, trials: list[TrialFolder], before: list[str]) -> bool:
        """Return whether an unfinished trial progressed in this job: too short a limit must not requeue for ever."""
        waiting = [(t, mark) for t, mark in zip(trials, before, strict=True) if t.state().status == "preempted"]
        return any(Checkpoint(trial).digest() != mark for trial, mark in waiting)


def devices_of(index: int, resources: Resources, devices: Sequence[str]) -> Sequence[str]:
    """Return a trial's share of its job's devices: never more trials on one than fit."""
    each = max(1, int(resources.gpus))
    start = index // resources.per_gpu * each
    return devices[start : start + each]


class SignalCounter:
    """Counts USR2 (before a preemption and the time limit) and SIGTERM (also when the job is cancelled)."""

    def __init__(self) -> None:
        self.number = 0
        former = signal.getsignal(signal.SIGUSR2)
        self.former: Callable[[int, FrameType | None], object] = former if callable(former) else lambda *_: None
        signal.signal(signal.SIGUSR2, self._count)
        signal.signal(signal.SIGTERM, self._count)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.number += 1

    def should_requeue(self) -> bool:
        """Only while SLURM has the job as running: a cancelled job must not be requeued, others it requeues itself."""
        if not self.number:
            return False
        command = ["scontrol", "-o", "show", "job", os.environ.get("SLURM_JOB_ID", "")]
        try:
            text = subprocess.run(command, capture_output=True, text=True, timeout=30).stdout
        except (OSError, subprocess.TimeoutExpired):
            return False  # no scontrol on this node: the driver submits a new job
        return "JobState=RUNNING" in text
