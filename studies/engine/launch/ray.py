"""Ray on this machine: a private cluster that lives as long as the driver and shares out cores and GPU fractions.

A Ray task starts one worker process and waits for it, so a crash takes one trial and never Ray itself. Attempts are
ours: Ray retries nothing. The cluster listens on more than loopback, hence a token, kept in the environment only.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from studies.engine import snapshot
from studies.engine.claim import alive
from studies.engine.launch import Handle, Job, JobState, LaunchError, Site
from studies.engine.launch._process import command, environ, this_process
from studies.engine.launch.local import cores
from studies.engine.trial import Resources

OPTIONS = ("num_cpus", "num_gpus")
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task without GPUs sees none
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill the small process that waits, not the large one that trains
    "RAY_SCHEDULER_EVENTS": "0",
}


def open(site: Site) -> Ray:
    unknown = sorted(set(site.options) - set(OPTIONS))
    if unknown:
        raise LaunchError(f"launcher ray has no option {unknown[0]}, there are {', '.join(OPTIONS)}")
    return Ray(site)


class Ray:
    name = "ray"
    steals = True
    pack = 1
    interval = 0.3

    def __init__(self, site: Site) -> None:
        self._code = snapshot.take(site.results)
        _sweep()
        self._folder = _place() / f"dynvit-ray-{os.getpid()}"  # short: sockets live below it
        (self._folder / "jobs").mkdir(parents=True, exist_ok=True)
        self._environment = {**SETTINGS, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._ray = self._start(site.options)
        self._task = self._ray.remote(max_calls=1, max_retries=0)(_task(self._code))
        self._size: dict[str, float] = self._ray.cluster_resources()

    def _start(self, options: dict[str, Any]) -> Any:
        self._former = {key: os.environ.get(key) for key in (*self._environment, "RAY_ADDRESS")}
        os.environ.update(self._environment)
        os.environ.pop("RAY_ADDRESS", None)
        import ray

        with _quiet():
            ray.init(
                address="local",
                num_cpus=options.get("num_cpus", cores()),
                num_gpus=options.get("num_gpus"),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                object_store_memory=80 * 2**20,  # nothing travels through it
                _node_ip_address="127.0.0.1"
                if sys.platform == "darwin"
                else "127.0.0.2",  # .1 would become the outward one
                _temp_dir=str(self._folder),
            )
        return ray

    def slots(self, resources: Resources) -> int:
        if resources.gpus > 1 or resources.nodes > 1:
            raise LaunchError("a trial on several devices is not supported yet")
        wants = _wants(resources)
        for key, amount in wants.items():
            there = self._size.get(key, 0.0)
            if amount > there:
                raise LaunchError(f"a trial asks for {_amount(key, amount)}, Ray has {_amount(key, there)} here")
        return max(1, min(int(self._size[key] / amount + 1e-6) for key, amount in wants.items()))

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        handles = []
        for job in jobs:
            wants = _wants(job.resources)
            options = {"num_cpus": wants["CPU"], "num_gpus": wants.get("GPU", 0), "memory": wants.get("memory")}
            note = self._folder / "jobs" / uuid.uuid4().hex
            environment = {**environ(job, self._code), "DYNVIT_DRIVER": this_process(), "RAY_AUTH_TOKEN": ""}
            reference = self._task.options(**options).remote(command(job), environment, str(note))
            handles.append(Handle(job, (reference, note)))
        return handles

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        by_reference = {handle.native[0]: handle for handle in handles}
        references = list(by_reference)
        ready = self._ray.wait(references, num_returns=len(references), timeout=0)[0] if references else []
        for reference in ready:
            handle = by_reference[reference]
            handle.pid, handle.note = self._end_of(reference)
        gone = set(ready)
        return {
            handle: "gone" if reference in gone else "running" if handle.native[1].exists() else "waiting"
            for reference, handle in by_reference.items()
        }

    def _end_of(self, reference: Any) -> tuple[int, str]:
        try:
            pid, note = self._ray.get(reference)
            return int(pid), str(note)
        except self._ray.exceptions.TaskCancelledError:
            return 0, ""
        except self._ray.exceptions.RayError as error:
            return 0, f"Ray: {type(error).__name__}"

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        for handle in handles:
            pid = _worker(handle.native[1])
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if pid and kill:
                    os.killpg(pid, signal.SIGKILL)
                elif pid:
                    os.kill(pid, signal.SIGTERM)
            if not pid:
                self._ray.cancel(handle.native[0])

    def close(self) -> None:
        if not self._folder.exists():
            return
        workers = [pid for note in (self._folder / "jobs").glob("*") if (pid := _worker(note))]
        with _quiet():
            self._ray.shutdown()
        until = time.monotonic() + 2
        while any(map(alive, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in filter(alive, workers):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)
        for key, value in self._former.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def _task(code: Path) -> Callable[[list[str], dict[str, str], str], tuple[int, str]]:
    """What runs in Ray's process. A nested function travels by value, so it takes our code from the snapshot only."""
    path = str(code)

    def run(arguments: list[str], environment: dict[str, str], note: str) -> tuple[int, str]:
        import sys

        sys.path.insert(0, path)
        from pathlib import Path

        from studies.engine.launch._process import Process

        process = Process(arguments, environment)
        Path(note).write_text(str(process.pid))
        try:
            return process.pid, process.wait()
        finally:
            Path(note).unlink(missing_ok=True)

    return run


def _wants(resources: Resources) -> dict[str, float]:
    wants = {"CPU": float(max(1, resources.cpus))}
    if resources.gpus > 0:
        wants["GPU"] = float(resources.gpus)
    if resources.memory_gb:
        wants["memory"] = resources.memory_gb * 2**30
    return wants


def _amount(key: str, value: float) -> str:
    if key == "memory":
        return f"{value / 2**30:.1f} GB of memory"
    return f"{value:g} {'GPU' if key == 'GPU' else 'core'}{'' if value == 1 else 's'}"


def _worker(note: Path) -> int:
    """Process id of a job's worker, 0 before it started and after it ended."""
    try:
        return int(note.read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


def _place() -> Path:
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) <= 30 else Path("/tmp")


def _sweep() -> None:
    """Folders of drivers that were killed."""
    for folder in _place().glob("dynvit-ray-*"):
        pid = folder.name.rpartition("-")[2]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without what Ray prints about itself."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        yield
