"""A worker as a separate process in its own process group, on the machine of the job."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from studies.engine.core.processes import start_time
from studies.engine.jobs.launcher import Job

STOP_GRACE_SECONDS = 20.0
"""Seconds between asking a worker to save and killing it."""


def worker_command(job: Job, until_empty: bool = True) -> list[str]:
    """Return the arguments after the interpreter, whose path differs between machines."""
    options = ["--until-empty"] if until_empty else []
    return ["-m", "studies.engine.worker", *options, "--device", job.device, *map(str, job.folders)]


def worker_environment(job: Job, code: Path) -> dict[str, str]:
    """Return variables for the worker: the code snapshot, threads, no GPU where none was requested."""
    cpus = str(max(1, job.resources.cpus))
    given = {**code_paths(code), "OMP_NUM_THREADS": cpus, "MKL_NUM_THREADS": cpus, "PYTHONUNBUFFERED": "1"}
    if job.resources.gpus <= 0:
        given["CUDA_VISIBLE_DEVICES"] = ""
    return given


def code_paths(code: Path) -> dict[str, str]:
    """Return the variables by which Python finds the code, then what the user's PYTHONPATH has: packages of a cluster's
    `module load`, for example."""
    theirs = [os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    found = dict.fromkeys([str(code), *theirs])
    return {"PYTHONPATH": os.pathsep.join(found), "PYTHONSAFEPATH": "1"}  # else the current folder would come first


def time_limit(job: Job) -> dict[str, str]:
    """Return the variable with the trial's time limit, where the launcher enforces none."""
    return {} if job.resources.minutes is None else {"DYNVIT_MINUTES": f"{job.resources.minutes:g}"}


def driver_id() -> str:
    """Return the value of DYNVIT_DRIVER: a worker with it ends when this process does."""
    return f"{os.getpid()}:{start_time(os.getpid())}"


class WorkerProcess:
    """A running worker. `note` reports its output outside of trials."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._popen = subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **environment, "DYNVIT_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._popen.pid

    def alive(self) -> bool:
        return self._popen.poll() is None

    def request_stop(self) -> None:
        """Ask the worker alone to save and end: its data loaders must live while it saves."""
        if self.alive():
            self._popen.terminate()

    def kill(self) -> None:
        """Kill it with everything it started, also what outlived it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def wait(self) -> str:
        """Wait for its end and return the note. If interrupted: ask it to stop, wait STOP_GRACE_SECONDS, kill."""
        try:
            while self.alive():
                time.sleep(0.1)  # not a blocking wait: Ray's interrupt would not end that one
        except BaseException:
            self.request_stop()
            until = time.monotonic() + STOP_GRACE_SECONDS
            while self.alive() and time.monotonic() < until:
                time.sleep(0.05)
            raise
        finally:
            self.kill()
        return self.note()

    def note(self) -> str:
        """Return how it ended; empty after a normal exit, for which the trials' states are enough."""
        code = self._popen.wait()
        self._output.seek(max(0, self._output.seek(0, os.SEEK_END) - 4000))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        return lines[-1][:300] if code and lines else ""
