"""Worker processes on this machine without Ray: as many at once as its cores allow. No GPUs: Ray shares those out."""

from __future__ import annotations

import os
from collections.abc import Sequence

from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchError, Site
from studies.engine.jobs.together import Together, start
from studies.engine.jobs.worker_process import Process, command, environ, limit, this_process
from studies.engine.storage import code_snapshot


def open(site: Site) -> Local:
    return Local(site)


def cores() -> int:
    """Of this machine, as far as this process may use them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Local:
    name = "local"
    steals = True
    pack = 1
    interval = 0.2

    def __init__(self, site: Site) -> None:
        self._code = code_snapshot.take(site.results)
        self._processes: list[Process | Together] = []

    def slots(self, resources: Resources) -> int:
        if resources.gpus > 0 or resources.nodes > 1:
            raise LaunchError("local runs CPU trials only, use --on ray")
        cpus = max(1, resources.cpus) * resources.per_node
        if cpus > cores():
            raise LaunchError(f"a trial asks for {cpus} cores, this machine has {cores()}")
        return cores() // cpus

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        handles = []
        for job in jobs:
            environment = {**environ(job, self._code), **limit(job), "DYNVIT_DRIVER": this_process()}
            process = start(command(job), environment, job.resources)
            self._processes.append(process)
            handles.append(Handle(job, process))
        return handles

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        states: dict[Handle, JobState] = {}
        for handle in handles:
            process: Process | Together = handle.native
            states[handle] = "running" if process.alive() else "gone"
            if states[handle] == "gone":
                process.kill()  # what it may have left behind
                handle.pid, handle.note = process.pid, process.note()
        return states

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        for handle in handles:
            if kill:
                handle.native.kill()
            else:
                handle.native.ask()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
