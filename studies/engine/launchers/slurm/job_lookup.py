"""Queued and running jobs of trials, for `status`, `logs` and `stop`. Without records of submissions, the scheduler is
not queried."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from studies.engine.launchers.slurm import squeue, submissions
from studies.engine.launchers.slurm.queue import QueuedJob, cancel, live_jobs


def find_jobs(results: Path, trials: Collection[str]) -> dict[str, QueuedJob]:
    """Return jobs by trial; empty too where the scheduler does not answer."""
    return ask(results, trials)[0]


def ask(results: Path, trials: Collection[str]) -> tuple[dict[str, QueuedJob], set[str]]:
    """Return jobs by trial, and the trials that were submitted and of which no scheduler says anything here."""
    records = [
        r for r in submissions.read_submissions(results) if r.array and any(n in trials for t in r.tasks for n in t)
    ]
    silent = {name for record in records for task in record.tasks for name in task if name in trials}
    if not records or shutil.which("squeue") is None:
        return {}, silent
    try:
        return {name: job for job in live_jobs(records) for name in job.trials if name in trials}, set()
    except squeue.SchedulerUnavailable:
        return {}, silent


def jobs_of(results: Path, studies: Collection[str]) -> dict[str, QueuedJob]:
    """Return the jobs that runs of these studies have submitted, by trial: also trials that are in no plan any more."""
    records = (record for record in submissions.read_submissions(results) if record.study in studies)
    return find_jobs(results, {name for record in records for task in record.tasks for name in task})


def cancel_waiting(results: Path, trials: Collection[str]) -> int:
    """Cancel waiting jobs that contain only these trials; return the number of trials."""
    found = dict.fromkeys(find_jobs(results, trials).values())
    waiting = [job for job in found if job.state == "waiting" and set(job.trials) <= set(trials)]
    cancel(waiting, waiting=True)
    return sum(len(job.trials) for job in waiting)
