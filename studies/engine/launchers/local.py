"""Worker processes on this machine without Ray: as many at once as its cores allow. No GPUs: Ray shares those out."""

from __future__ import annotations

from collections.abc import Sequence

from studies.engine.core.processes import available_cores
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchContext, LaunchError
from studies.engine.jobs.worker_group import WorkerGroup, start_workers
from studies.engine.jobs.worker_process import WorkerProcess, driver_id, time_limit, worker_command, worker_environment
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
        self._processes: list[WorkerProcess | WorkerGroup] = []

    def capacity(self, resources: Resources) -> int:
        if resources.gpus > 0 or resources.nodes > 1:
            raise LaunchError("local runs CPU trials only, use --on ray")
        cpus = max(1, resources.cpus) * resources.per_node
        if cpus > available_cores():
            raise LaunchError(f"a trial asks for {cpus} cores, this machine has {available_cores()}")
        return available_cores() // cpus

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        handles = []
        for job in jobs:
            environment = {**worker_environment(job, self._code), **time_limit(job), "DYNVIT_DRIVER": driver_id()}
            process = start_workers(worker_command(job), environment, job.resources)
            self._processes.append(process)
            handles.append(Handle(job, process))
        return handles

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        states: dict[Handle, JobState] = {}
        for handle in handles:
            process: WorkerProcess | WorkerGroup = handle.native
            states[handle] = "running" if process.alive() else "gone"
            if states[handle] == "gone":
                process.kill()  # what it may have left behind
                handle.pid, handle.exit_note = process.pid, process.note()
        return states

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        for handle in handles:
            if kill:
                handle.native.kill()
            else:
                handle.native.request_stop()

    def close(self) -> None:
        for process in self._processes:
            process.kill()
