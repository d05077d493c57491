"""Ray: cores and GPU fractions of this machine in a private cluster that ends with the driver, or an existing cluster
(`--address`).

A Ray task starts one worker process and waits for it, so a crash ends one trial and never Ray itself. The driver does
all retries, Ray none. All nodes must see the results folder under the same path, as it holds the code snapshot. A
private cluster listens on more than loopback, hence a token, kept in the environment only.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.core.processes import is_alive, machine_id
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchContext, LaunchError
from studies.engine.jobs.worker_process import driver_id, time_limit, worker_command, worker_environment
from studies.engine.launchers.ray.nodes import Node, concurrent_trials, find_cluster, requirements, shortage
from studies.engine.launchers.ray.remote import make_remote_function, read_worker
from studies.engine.launchers.ray.session import (
    PRIVATE_SETTINGS,
    connect,
    one_line,
    private_folder,
    read_settings_anew,
    start_private,
    suppress_output,
)
from studies.engine.runtime.distributed import env
from studies.engine.storage import code_snapshot

OPTIONS = {"num_cpus": int, "num_gpus": int, "address": str}
NODE_POLL_SECONDS = 5.0
"""Between two queries of the cluster's nodes, which may change."""


def create(site: LaunchContext) -> RayLauncher:
    return RayLauncher(site)


@dataclass
class RayJob:
    """A job on Ray: a task per process, the first of which is rank 0."""

    references: list[Any]
    notes: list[Path]
    group: Any = None
    """The placement group of a trial of several processes."""


class RayLauncher:
    name = "ray"
    work_stealing = True
    trials_per_job = 1
    interval = 0.3

    def __init__(self, site: LaunchContext) -> None:
        asked = str(site.options.get("address") or "")
        self._address = find_cluster(asked) if asked else ""
        self._code = code_snapshot.take(site.results)
        self._folder = private_folder(driver_id())
        self._jobs = self._folder / "jobs"
        if self._address:
            self._jobs = site.study_folder / f".ray.{os.getpid()}.{secrets.token_hex(3)}"  # all nodes see it
        self._jobs.mkdir(parents=True, exist_ok=True)
        settings = {} if self._address else {**PRIVATE_SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._saved_environment = {key: os.environ.get(key) for key in (*settings, "RAY_ADDRESS")}
        os.environ.update(settings)
        os.environ.pop("RAY_ADDRESS", None)
        try:
            with one_line("Ray cannot be imported"):
                import ray

            self._ray: Any = ray
            read_settings_anew()
            if self._address:
                connect(ray, self._address)
            else:
                start_private(ray, site.options, self._folder)
        except BaseException:
            self._remove_folders()
            raise
        self._task = self._ray.remote(max_calls=1, max_retries=0)(make_remote_function(self._code))
        self._nodes, self._nodes_polled_at = self._alive_nodes(), time.monotonic()

    def _alive_nodes(self) -> list[Node]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    # ---- the launcher

    def capacity(self, resources: Resources) -> int:
        count = concurrent_trials(self._nodes, resources)
        if not count:
            raise LaunchError(shortage(self._nodes, resources, self._address or "here"))
        return count

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        return [Handle(job, self._submit(job)) for job in jobs]

    def _submit(self, job: Job) -> RayJob:
        resources = job.resources
        environment = {**worker_environment(job, self._code), **time_limit(job), "RAY_AUTH_TOKEN": ""}
        if not self._address:
            environment["DYNVIT_DRIVER"] = driver_id()  # process ids mean nothing on another node
        world, rendezvous = resources.world, uuid.uuid4().hex
        need = requirements(resources)
        options = {"num_cpus": need["CPU"], "num_gpus": need.get("GPU", 0), "memory": need.get("memory")}
        running = RayJob([], [], self._group(resources) if world > 1 else None)
        for rank in range(world):
            note = self._jobs / uuid.uuid4().hex
            variables = {**environment, **env.rank_environment(rank, world, resources.per_node, rendezvous)}
            placed = dict(options)
            if running.group is not None:
                placed["scheduling_strategy"] = self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
                    running.group, placement_group_bundle_index=rank // resources.per_node
                )
            running.references.append(self._task.options(**placed).remote(worker_command(job), variables, str(note)))
            running.notes.append(note)
        return running

    def _group(self, resources: Resources) -> Any:
        """Reserve room for all processes of a trial: one bundle per node, on different nodes."""
        from ray.util import placement_group, scheduling_strategies  # noqa: F401

        bundles = [requirements(resources, resources.per_node) for _ in range(resources.nodes)]
        return placement_group(bundles, strategy="STRICT_SPREAD" if len(bundles) > 1 else "PACK")

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        first = {handle.native.references[0]: handle for handle in handles}
        references = list(first)
        ready = set(self._ray.wait(references, num_returns=len(first), timeout=0)[0]) if references else set()
        for reference in ready:
            handle = first[reference]
            handle.pid, handle.exit_note = self._exit_of(reference, handle.native.notes[0])
            self._release(handle.native)
        states: dict[Handle, JobState] = {}
        for reference, handle in first.items():
            began = handle.native.notes[0].exists()
            states[handle] = "gone" if reference in ready else "running" if began else "waiting"
        self._watch_nodes([handle for handle, state in states.items() if state == "waiting"], states)
        return states

    def _watch_nodes(self, waiting: Sequence[Handle], states: dict[Handle, JobState]) -> None:
        """Give up jobs that wait for nodes which have left the cluster."""
        if time.monotonic() - self._nodes_polled_at < NODE_POLL_SECONDS:
            return
        self._nodes_polled_at = time.monotonic()
        with contextlib.suppress(OSError):
            os.utime(self._jobs)  # marks it as in use
        nodes = self._alive_nodes()
        if not nodes:
            return
        self._nodes = nodes
        for handle in waiting:
            if not concurrent_trials(nodes, handle.job.resources):
                handle.exit_note = shortage(nodes, handle.job.resources, self._address or "here")
                self._release(handle.native, kill=True)
                states[handle] = "gone"

    def _exit_of(self, reference: Any, note: Path) -> tuple[int, str]:
        """Return the worker's process id, and how it ended if something else ended it."""
        try:
            pid, exit_note = self._ray.get(reference)
            return int(pid), str(exit_note)
        except self._ray.exceptions.TaskCancelledError:
            return read_worker(note)[0], ""
        except self._ray.exceptions.OutOfMemoryError:
            return read_worker(note)[0], "oom"
        except self._ray.exceptions.RayError as error:
            return read_worker(note)[0], f"Ray: {type(error).__name__}"

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """Signal workers of this machine; cancel others through Ray, whose task forwards it (`WorkerProcess.wait`)."""
        for handle in handles:
            running: RayJob = handle.native
            for reference, note in zip(running.references, running.notes, strict=True):
                pid, host = read_worker(note)
                if pid and host == machine_id():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        if kill:
                            os.killpg(pid, signal.SIGKILL)
                        else:
                            os.kill(pid, signal.SIGTERM)
                else:
                    self._ray.cancel(reference, force=kill and bool(pid))
                if not kill and pid:
                    break  # rank 0 stops the others

    def _release(self, running: RayJob, kill: bool = False) -> None:
        """Release what remains of a job whose rank 0 has ended."""
        for reference in running.references[0 if kill else 1 :]:
            with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
                self._ray.cancel(reference, force=True)
        if running.group is not None:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.util.remove_placement_group(running.group)
        for note in running.notes:
            note.unlink(missing_ok=True)

    def close(self) -> None:
        if not self._jobs.exists():
            return
        found = [read_worker(note) for note in self._jobs.glob("*")]
        workers = [pid for pid, host in found if pid and host == machine_id()]
        with suppress_output():
            self._ray.shutdown()  # ends the tasks of this driver on every node
        until = time.monotonic() + 2
        while any(map(is_alive, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in filter(is_alive, workers):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._remove_folders()

    def _remove_folders(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._jobs, ignore_errors=True)
        for key, value in self._saved_environment.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value
