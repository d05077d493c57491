"""The study's jobs in SLURM's queue: states of all of them in one query, at a limited rate."""

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
"""Ends after which SLURM may requeue the job, and absence: accepted at the second poll in a row."""


@dataclass(eq=False)
class QueuedJob:
    """One job of an array."""

    record: Submission
    task: int
    state: JobState = "waiting"
    info: squeue.JobInfo | None = None
    missed: int = 0
    """Polls in a row in which it was absent or ended."""

    @property
    def id(self) -> str:
        return self.record.job(self.task)

    @property
    def trials(self) -> list[str]:
        return self.record.tasks[self.task]

    @property
    def log(self) -> Path:
        """Its output outside of its trials."""
        return self.record.log(self.task)

    def __str__(self) -> str:
        info = self.info or squeue.JobInfo("")
        why = f": {info.reason}" if self.state == "waiting" and info.reason not in ("", "None") else ""
        return f"job {self.id} {info.state}{why}"

    def exit_of(self, trial: str) -> tuple[str, bool]:
        """Return how a job that is gone ended for a trial, and whether the cluster ended it."""
        note = self.record.note(trial)
        if note:
            return note, False
        state, text = (self.info.state, self.info.describe()) if self.info else ("", "")
        if text or state in ("", "COMPLETED"):
            return text, state in squeue.CLUSTER_ENDS
        line = _last_line(self.log)
        return f"job {self.id} ended {state}" + (f": {line}" if line else ""), False


class Queue:
    """`say` receives lines for the user."""

    def __init__(self, trials: Path, every: float, say: Callable[[str], None]) -> None:
        self._trials, self._every, self._say = trials, every, say
        self._jobs: dict[str, list[QueuedJob]] = {}  # by job name
        self._polled_at = float("-inf")

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
        """Make the next poll due at once, after a change to the jobs."""
        self._polled_at = float("-inf")

    def poll(self) -> None:
        """Query the scheduler, if the interval has passed."""
        if time.monotonic() - self._polled_at < self._every:
            return
        self._polled_at = time.monotonic()
        left = {name: [job for job in jobs if job.state != "gone"] for name, jobs in self._jobs.items()}
        self._jobs = {name: jobs for name, jobs in left.items() if jobs}
        try:
            found = squeue.query_squeue(self._jobs)
        except squeue.SchedulerUnavailable as silent:
            self._say(f"{silent}; trials are not affected")
            return
        for job in self:
            now = found.get(job.id)
            self._update(job, now if now is not None and now.name == job.record.name else None)
        forgotten = [job for job in self if job.state == "gone" and job.info is None]
        accounted = squeue.query_sacct([job.id for job in forgotten]) if forgotten else {}
        for job in forgotten:
            job.info = accounted.get(job.id)

    def _update(self, job: QueuedJob, info: squeue.JobInfo | None) -> None:
        job.info = info
        if info is not None and not info.ended:
            job.missed = 0
            job.state = _state(info)
            if info.held:
                self._say(f"job {job.id} is held ({info.reason}): scontrol release {job.id}")
            return
        job.missed += 1
        if job.missed > 1 or (info.state if info else "") not in TRANSIENT_ENDS:
            job.state = "gone"

    def has_no_work(
        self, job: QueuedJob, given: set[str], over: tuple[Status, ...] = ("done", "failed", "lost")
    ) -> bool:
        """Return whether a job contains only trials that are `given` or over."""
        others = set(job.trials) - given
        return all(TrialFolder(self._trials / name).state().status in over for name in others)


def live_jobs(records: Iterable[Submission]) -> Iterator[QueuedJob]:
    """Yield the waiting and running jobs of records; SchedulerUnavailable where nothing answers.

    A record whose submission was interrupted gets the scheduler's id.
    """
    records = list(records)
    listed: dict[str, dict[str, squeue.JobInfo]] = {}
    for number, info in squeue.query_squeue(record.name for record in records).items():
        if not info.ended:
            listed.setdefault(info.name, {})[number] = info
    for record in records:
        live = listed.get(record.name, {})
        if not record.array and live:
            record.array = next(iter(live)).partition("_")[0]
            record.write()
        for task in range(len(record.tasks)):
            if (found := live.get(record.job(task))) is not None:
                yield QueuedJob(record, task, _state(found), found)


def cancel(jobs: Iterable[QueuedJob], waiting: bool = False) -> None:
    """Cancel jobs. waiting: only those that do not run yet."""
    listed: dict[str, list[str]] = {}
    for job in jobs:
        if job.state != "gone":
            listed.setdefault(job.record.name, []).append(job.id)
    for name, ids in listed.items():
        squeue.cancel(ids, name, waiting)


def _state(info: squeue.JobInfo) -> JobState:
    return "waiting" if info.state in squeue.QUEUED else "running"


def _last_line(log: Path) -> str:
    """Return the last line that the job itself printed, or SLURM's last if it printed none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    printed = [line.strip()[:300] for line in lines if line.strip()]
    own = [line for line in printed if not line.startswith(("srun: ", "slurmstepd: "))]
    return (own or printed or [""])[-1]
