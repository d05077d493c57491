"""Worker processes on this machine without Ray: as many at once as its cores and memory allow. CPU only."""

from __future__ import annotations

import time
from collections.abc import Sequence

from studies.engine.core.processes import available_cores, memory_gb
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchContext, LaunchError
from studies.engine.jobs.worker_group import EXIT_GRACE_SECONDS, WorkerGroup
from studies.engine.storage import code_snapshot


def create(site: LaunchContext) -> LocalLauncher:
    return LocalLauncher(site)


class LocalLauncher:
    name = "local"
    work_stealing = True
    trials_per_job = 1
    interval = 0.2

    def __init__(self, site: LaunchContext) -> None:
        self._code = code_snapshot.take(site.results)
        self._processes: list[WorkerGroup] = []

    def capacity(self, resources: Resources) -> int:
        if resources.gpus > 0 or resources.nodes > 1:
            raise LaunchError("local runs CPU trials only, use --on ray")
        cpus = max(1, resources.cpus) * resources.per_node
        if cpus > available_cores():
            raise LaunchError(f"a trial asks for {cpus} cores, this machine has {available_cores()}")
        memory = resources.memory_gb or 0.0
        if memory > memory_gb():
            raise LaunchError(f"a trial asks for {memory:g} GB of memory, this machine has {memory_gb():.1f} GB")
        return min(available_cores() // cpus, int(memory_gb() / memory) if memory else available_cores())

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        handles = [Handle(job, WorkerGroup(job, self._code)) for job in jobs]
        self._processes += [handle.native for handle in handles]
        return handles

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        states: dict[Handle, JobState] = {}
        for handle in handles:
            process: WorkerGroup = handle.native
            states[handle] = "running" if process.alive() else "gone"
            if states[handle] == "gone":
                process.kill()  # with what it may have left running
                handle.pid, handle.exit_note = process.pid, process.note()
                if process in self._processes:
                    self._processes.remove(process)  # the file of its output is closed with it
        return states

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        for handle in handles:
            if kill:
                handle.native.kill()
            else:
                handle.native.request_stop()

    def close(self) -> None:
        """Let workers whose trials are done release them and exit, then kill what is left."""
        until = time.monotonic() + EXIT_GRACE_SECONDS
        while any(process.alive() for process in self._processes) and time.monotonic() < until:
            time.sleep(0.05)
        for process in self._processes:
            process.kill()
