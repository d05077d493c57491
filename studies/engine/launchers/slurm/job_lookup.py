"""Queued and running jobs of trials, for `status`, `logs` and `stop`. Without records of submissions, the scheduler is
not queried."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from studies.engine.launchers.slurm import squeue, submissions
from studies.engine.launchers.slurm.submissions import Submission


@dataclass(frozen=True)
class FoundJob:
    """A waiting or running job."""

    id: str
    record: Submission
    trials: tuple[str, ...]
    info: squeue.JobInfo
    log: Path
    """Its output outside of its trials."""

    @property
    def is_waiting(self) -> bool:
        return self.info.state in squeue.QUEUED

    def __str__(self) -> str:
        why = f": {self.info.reason}" if self.is_waiting and self.info.reason not in ("", "None") else ""
        return f"job {self.id} {self.info.state}{why}"


def find_jobs(results: Path, trials: Collection[str]) -> dict[str, FoundJob]:
    """Return jobs by trial; empty too where the scheduler does not answer."""
    records = [
        r for r in submissions.read_submissions(results) if r.array and any(n in trials for t in r.tasks for n in t)
    ]
    if not records or shutil.which("squeue") is None:
        return {}
    try:
        queue = squeue.query_squeue(record.name for record in records)
    except squeue.SchedulerUnavailable:
        return {}
    found = {}
    for record in records:
        for number, task in enumerate(record.tasks):
            info = queue.get(record.job(number))
            if info is not None and info.name == record.name and not info.ended:
                job = FoundJob(record.job(number), record, tuple(task), info, record.log(number))
                found.update({name: job for name in task if name in trials})
    return found


def cancel_waiting(results: Path, trials: Collection[str]) -> int:
    """Cancel waiting jobs that contain only these trials; return the number of trials."""
    waiting = {name: job for name, job in find_jobs(results, trials).items() if job.is_waiting}
    by_record: dict[str, list[FoundJob]] = {}
    for job in dict.fromkeys(waiting.values()):
        if set(job.trials) <= set(trials):
            by_record.setdefault(job.record.name, []).append(job)
    for name, listed in by_record.items():
        squeue.cancel([job.id for job in listed], name, waiting=True)
    taken = {job for listed in by_record.values() for job in listed}
    return sum(job in taken for job in waiting.values())
