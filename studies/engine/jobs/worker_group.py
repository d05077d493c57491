"""The workers of one trial on this machine: one process, or several that train it together."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence

from studies.engine.core.trial import Resources
from studies.engine.jobs.worker_process import WorkerProcess
from studies.engine.runtime.distributed import env

EXIT_GRACE_SECONDS = 5.0
"""Seconds that the others have after rank 0 to end by themselves."""


class WorkerGroup:
    """As one `Process`: rank 0 is who is asked and who tells how it went."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], resources: Resources) -> None:
        world, gang = resources.world, uuid.uuid4().hex
        told = [env.rank_environment(i, world, resources.per_node, gang, "127.0.0.1") for i in range(world)]
        self._all = [WorkerProcess(arguments, {**environment, **each}) for each in told]
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


def start_workers(
    arguments: Sequence[str], environment: Mapping[str, str], resources: Resources
) -> WorkerProcess | WorkerGroup:
    if resources.world > 1:
        return WorkerGroup(arguments, environment, resources)
    return WorkerProcess(arguments, environment)
