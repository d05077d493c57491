"""The workers of one job on this machine: one process, or several that train its trial together."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from studies.engine.jobs.launcher import Job
from studies.engine.jobs.worker_process import WorkerProcess, driver_id, time_limit, worker_command, worker_environment
from studies.engine.runtime.distributed.env import rank_environment

EXIT_GRACE_SECONDS = 5.0
"""Seconds that the other ranks have to exit after rank 0."""


class WorkerGroup:
    """All ranks as one process: stop requests go to rank 0, and its exit note counts."""

    def __init__(self, job: Job, code: Path) -> None:
        environment = {**worker_environment(job, code), **time_limit(job), "DYNVIT_DRIVER": driver_id()}
        world, per_node, rendezvous = job.resources.world, job.resources.per_node, uuid.uuid4().hex
        self._all = []
        for rank in range(world):
            variables = {**environment, **rank_environment(rank, world, per_node, rendezvous)}
            self._all.append(WorkerProcess(worker_command(job), variables))
        self._ended: float | None = None
        self.pid = self._all[0].pid

    def alive(self) -> bool:
        if self._all[0].alive():
            return True
        self._ended = self._ended or time.monotonic()
        return any(process.alive() for process in self._all) and time.monotonic() - self._ended < EXIT_GRACE_SECONDS

    def request_stop(self) -> None:
        self._all[0].request_stop()

    def kill(self) -> None:
        for process in self._all:
            process.kill()

    def note(self) -> str:
        return self._all[0].note()
