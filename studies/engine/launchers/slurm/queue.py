"""Our jobs in SLURM's queue: how each stands, asked for all of them at once and no more often than is polite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from studies.engine.core.trial import Status
from studies.engine.jobs.launcher import JobState
from studies.engine.launchers.slurm import squeue
from studies.engine.launchers.slurm.submissions import Submission
from studies.engine.storage.trial_folder import TrialFolder

TRANSIENT_ENDS = ("NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED", "")
"""Ends after which SLURM may put the job back into the queue, and absence: believed when seen twice."""


@dataclass(eq=False)
class QueuedJob:
    """One job of an array."""

    record: Submission
    task: int
    state: JobState = "waiting"
    info: squeue.JobInfo | None = None
    missed: int = 0
    """How often in a row it was not there, or over."""

    @property
    def id(self) -> str:
        return self.record.job(self.task)

    @property
    def trials(self) -> list[str]:
        return self.record.tasks[self.task]

    def exit_of(self, trial: str) -> tuple[str, bool]:
        """How a job that is gone ended for a trial, and whether that was the site's doing."""
        note = self.record.note(trial)
        if note:
            return note, False
        state, words = (self.info.state, self.info.describe()) if self.info else ("", "")
        if words or state in ("", "COMPLETED"):
            return words, state in squeue.CLUSTER_ENDS
        line = _last_line(self.record.log(self.task))
        return f"job {self.id} ended {state}" + (f": {line}" if line else ""), False


class Queue:
    """`say` gets a line for the user, each once."""

    def __init__(self, trials: Path, every: float, say: Callable[[str], None]) -> None:
        self._trials, self._every, self._say = trials, every, say
        self._jobs: dict[str, list[QueuedJob]] = {}  # by job name
        self._looked = float("-inf")

    def __iter__(self) -> Iterator[QueuedJob]:
        return (job for jobs in self._jobs.values() for job in jobs)

    def __bool__(self) -> bool:
        return bool(self._jobs)

    @property
    def names(self) -> list[str]:
        return list(self._jobs)

    def add(self, jobs: list[QueuedJob]) -> None:
        """Jobs of one record."""
        if jobs:
            self._jobs[jobs[0].record.name] = jobs
            self.poll_soon()

    def poll_soon(self) -> None:
        """Something was done to the jobs: the next look is due at once."""
        self._looked = float("-inf")

    def poll(self) -> None:
        """Ask the scheduler, if it is time."""
        if time.monotonic() - self._looked < self._every:
            return
        self._looked = time.monotonic()
        left = {name: [job for job in jobs if job.state != "gone"] for name, jobs in self._jobs.items()}
        self._jobs = {name: jobs for name, jobs in left.items() if jobs}
        try:
            seen = squeue.query_squeue(self._jobs)
        except squeue.SchedulerUnavailable as silent:
            self._say(f"{silent}; trials are not touched by that")
            return
        for job in self:
            now = seen.get(job.id)
            self._read(job, now if now is not None and now.name == job.record.name else None)
        forgotten = [job for job in self if job.state == "gone" and job.info is None]
        told = squeue.query_sacct([job.id for job in forgotten]) if forgotten else {}
        for job in forgotten:
            job.info = told.get(job.id)

    def _read(self, job: QueuedJob, seen: squeue.JobInfo | None) -> None:
        job.info = seen
        if seen is not None and not seen.ended:
            job.missed = 0
            job.state = "waiting" if seen.state in squeue.QUEUED else "running"
            if seen.held:
                self._say(f"job {job.id} is held ({seen.reason}): scontrol release {job.id}")
            return
        job.missed += 1
        if job.missed > 1 or (seen.state if seen else "") not in TRANSIENT_ENDS:
            job.state = "gone"

    def cancel(self, jobs: Iterable[QueuedJob], waiting: bool = False) -> None:
        """waiting: leave running ones alone."""
        listed: dict[str, list[str]] = {}
        for job in jobs:
            if job.state != "gone":
                listed.setdefault(job.record.name, []).append(job.id)
        for name, ids in listed.items():
            squeue.cancel(ids, name, waiting)
            self.poll_soon()

    def has_no_work(
        self, job: QueuedJob, given: set[str], over: tuple[Status, ...] = ("done", "failed", "lost")
    ) -> bool:
        """Whether nothing is left of a job but trials that are given or over."""
        others = set(job.trials) - given
        return all(TrialFolder(self._trials / name).state().status in over for name in others)


def _last_line(log: Path) -> str:
    """The last of the job's own words."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.strip()[:300] for line in lines if line.strip()]
    own = [line for line in said if not line.startswith(("srun: ", "slurmstepd: "))]
    return (own or said or [""])[-1]
