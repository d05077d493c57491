"""Queries of the scheduler: one `squeue` for all jobs, including those just ended; `scontrol` for the cluster's
settings; `sacct`, where accounting exists, for jobs that squeue no longer lists."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from studies.engine.launchers.slurm.environment import query_environment

CLUSTER_ENDS = ("BOOT_FAIL", "CANCELLED", "DEADLINE", "NODE_FAIL", "PREEMPTED", "REVOKED", "TIMEOUT")
"""Ends that the trial did not cause."""
ENDED = (*CLUSTER_ENDS, "COMPLETED", "FAILED", "OUT_OF_MEMORY")
QUEUED = ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "CONFIGURING")
DESCRIPTIONS = {
    "BOOT_FAIL": "its node failed to boot",
    "CANCELLED": "its job was cancelled (scancel)",
    "DEADLINE": "its job reached its deadline",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "out of memory (killed by SLURM)",
    "PREEMPTED": "its job was preempted",
    "TIMEOUT": "its job reached the time limit before the trial had saved",
}
TIMEOUT_SECONDS = 60.0
MAX_IDS = 500
"""Job ids on one command line."""


class SchedulerUnavailable(Exception):
    """The scheduler did not answer; the text is its error message."""


@dataclass(frozen=True)
class JobInfo:
    """A job (a task of an array) as the scheduler reports it."""

    state: str
    reason: str = ""
    node: str = ""
    name: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def held(self) -> bool:
        """Whether it waits until a user or administrator releases it."""
        return self.state in QUEUED and ("held" in self.reason.lower() or self.reason == "SPECIAL_EXIT")

    def describe(self) -> str:
        """Return how it ended; empty for ends that need no explanation."""
        if self.state == "NODE_FAIL" and self.node:
            return f"{DESCRIPTIONS[self.state]} on {self.node}"
        return DESCRIPTIONS.get(self.state, "")


def run_command(*command: str) -> str:
    """Return a SLURM command's output; SchedulerUnavailable where it fails or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            stdin=subprocess.DEVNULL,
            env=query_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise SchedulerUnavailable(f"{command[0]} has not answered for {TIMEOUT_SECONDS:g} s") from error
    except OSError as error:
        raise SchedulerUnavailable(f"{command[0]}: {error.strerror or error}") from error
    if done.returncode != 0:
        raise SchedulerUnavailable(first_error(done.stderr) or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def first_error(text: str) -> str:
    """Return SLURM's error message without the program's name."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [m for line in lines if (m := re.match(r"s\w+: (?:error|fatal): (.+)", line))]
    errors = list(dict.fromkeys(m.group(1) for m in named))
    return "; ".join(errors[:2]) if errors else lines[-1] if lines else ""


def query_squeue(names: Iterable[str]) -> dict[str, JobInfo]:
    """Return every job of those names that squeue lists, including those ended within MinJobAge, by id."""
    wanted = ",".join(sorted(set(names)))
    if not wanted:
        return {}
    user = str(os.getuid())
    text = run_command("squeue", "-h", "-r", "-t", "all", "-u", user, "-n", wanted, "-o", "%i|%j|%T|%N|%r")
    return dict(_line(line) for line in text.splitlines() if line.count("|") >= 4)


def _line(line: str) -> tuple[str, JobInfo]:
    number, name, state, node, reason = (part.strip() for part in line.split("|", 4))
    return number, JobInfo(state, reason, node, name)


def query_sacct(ids: Sequence[str]) -> dict[str, JobInfo]:
    """Return jobs from accounting, which squeue no longer lists; empty without accounting."""
    found: dict[str, JobInfo] = {}
    arrays = sorted({number.partition("_")[0] for number in ids})
    for start in range(0, len(arrays), MAX_IDS):
        listed = ",".join(arrays[start : start + MAX_IDS])
        try:
            text = run_command("sacct", "-n", "-X", "-P", "-j", listed, "-o", "JobID,State,NodeList")
        except SchedulerUnavailable:
            return found
        for line in text.splitlines():
            number, state, node = (*line.split("|"), "", "")[:3]
            if state:
                found[number] = JobInfo(state.split()[0], "", "" if node == "None assigned" else node)
    return {number: found[number] for number in ids if number in found}


def cluster_config() -> dict[str, str]:
    """Return the cluster's settings; empty where the controller does not answer."""
    try:
        text = run_command("scontrol", "show", "config")
    except SchedulerUnavailable:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def cancel(ids: Sequence[str], name: str, waiting: bool = False) -> None:
    """Cancel the jobs with these ids and that name (ids may be reused); running ones get SIGTERM and KillWait seconds.
    waiting: only those that do not run yet."""
    only = ["--state=PENDING"] if waiting else []
    for start in range(0, len(ids), MAX_IDS):
        with contextlib.suppress(SchedulerUnavailable):
            run_command("scancel", "--quiet", f"--name={name}", *only, *ids[start : start + MAX_IDS])
