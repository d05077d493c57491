"""SLURM: job arrays submitted through submitit; job states come from squeue.

submitit writes the sbatch file, pickles what a job runs, and requeues it. Its job states are not used: they come from
accounting only and take a failed node for the end of a job that SLURM reruns. It counts every early signal in a short
job as a time-out (hence `MAX_TIMEOUTS`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import DelayedSubmission
from submitit.slurm.slurm import _make_sbatch_string

from studies.engine.core.formatting import count
from studies.engine.core.trial import Resources
from studies.engine.jobs.launcher import Handle, Job, JobState, LaunchContext, LaunchError
from studies.engine.launchers.slurm import options as _slurm_options
from studies.engine.launchers.slurm import sbatch, squeue, submissions
from studies.engine.launchers.slurm.environment import submission_environment
from studies.engine.launchers.slurm.job import Task
from studies.engine.launchers.slurm.queue import Queue, QueuedJob, cancel, live_jobs
from studies.engine.storage import code_snapshot
from studies.engine.storage.plan_file import find_plan
from studies.engine.storage.trial_folder import TrialFolder

MAX_TIMEOUTS = 10**6
"""Time-outs after which submitit gives up a job."""
RETRY_SECONDS = 60.0
"""Seconds before retrying a refused submission, while jobs of this study are in the queue."""
FINAL_POLLS = 4
"""Polls at the end, so that the last jobs leave the queue and their records can be removed."""


class RequeuableTask(Task):
    """The task for submitit: requeued unchanged, as its state is in the trial folder."""

    def checkpoint(self) -> Any:
        return DelayedSubmission(self)


def create(site: LaunchContext) -> SlurmLauncher:
    absent = [p for p in ("sbatch", "srun", "squeue") if not shutil.which(p)]
    if absent:
        raise LaunchError(f"no {absent[0]} here: --on slurm needs a login node of the cluster")
    return SlurmLauncher(site, read_options(site.options))


def read_options(options: dict[str, Any]) -> _slurm_options.Options:
    """Return the options; LaunchError with every wrong one (files were checked when they were read)."""
    found: list[Any] = []
    given = _slurm_options.read_options(options, found)
    if found:
        raise LaunchError("\n".join(f"launcher slurm  {'.'.join(map(str, m.path))}: {m.text}" for m in found))
    return given


def sbatch_text(site: LaunchContext, resources: Resources, trials: int) -> str:
    """Return the sbatch file for that number of trials."""
    options = read_options(site.options)
    name = submissions.job_name(site.study_folder.name, "<token>")
    shape = sbatch.array_request(resources, options, name, site.results / "code/<hash>", trials)
    folder = site.results / submissions.FOLDER / "<token>"
    command = f"{shape.python} -u -m submitit.core._submit {folder}"
    jobs = -(-trials // shape.trials_per_job)
    return str(_make_sbatch_string(command, folder, map_count=jobs if jobs > 1 else None, **shape.parameters))


class SlurmLauncher:
    name = "slurm"
    work_stealing = False
    trials_per_job = 1  # this launcher packs trials itself, each with its own handle

    def __init__(self, site: LaunchContext, options: _slurm_options.Options) -> None:
        logging.getLogger("submitit").setLevel(logging.CRITICAL)
        self._site, self._options = site, options
        self._code = code_snapshot.take(site.results)
        self._study = site.study_folder.name
        self._queue = Queue(site.results / "trials", options.poll_seconds, self._say)
        self._limit = int(squeue.cluster_config().get("MaxArraySize") or 1001)
        self._blocked_until = float("-inf")
        self._messages: list[str] = []
        self._reported: set[str] = set()
        self.interval = min(2.0, options.poll_seconds)

    # ---- submitting

    def capacity(self, resources: Resources) -> int:
        if resources.world > 1 and (self._options.pack or 1) > 1:
            raise LaunchError("launcher slurm: pack is for trials of one process")
        sbatch.minutes(resources, self._options)
        return self._options.max_jobs or 10**9

    def submit(self, jobs: Sequence[Job]) -> list[Handle]:
        handles: list[Handle] = []
        if time.monotonic() < self._blocked_until:
            return handles
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(repr(job.resources), []).append(job)
        for group in groups.values():
            size = sbatch.trials_per_job(group[0].resources, self._options)
            tasks = [group[i : i + size] for i in range(0, len(group), size)]
            most = max(1, self._limit)
            for start in range(0, len(tasks), most):
                try:
                    handles += self._array(tasks[start : start + most])
                except submitit.core.utils.FailedJobError as error:
                    self._on_refused(str(error), bool(handles))
                    return handles
        return handles

    def _array(self, tasks: list[list[Job]]) -> list[Handle]:
        resources = tasks[0][0].resources
        names = [[folder.name for job in task for folder in job.folders] for task in tasks]
        record = submissions.create_submission(self._site.results, self._study, names)
        try:
            shape = sbatch.array_request(resources, self._options, record.name, self._code, sum(map(len, names)))
            executor = submitit.SlurmExecutor(record.folder, max_num_timeout=MAX_TIMEOUTS, python=shape.python)
            executor.update_parameters(**shape.parameters)
            folders = [tuple(folder for job in task for folder in job.folders) for task in tasks]
            calls = [RequeuableTask(each, resources, record.folder, self._code) for each in folders]
            with (
                submission_environment(sbatch.names(shape)),
                contextlib.redirect_stderr(io.StringIO()),
            ):  # sbatch's message is reported by `_on_refused`
                made = executor.submit_array(calls)
        except submitit.core.utils.FailedJobError:
            record.remove()
            raise
        record.array = made[0].job_id.partition("_")[0]
        record.write()
        waiting = [QueuedJob(record, i) for i in range(len(tasks))]
        self._queue.add(waiting)
        return [Handle(job, queued) for task, queued in zip(tasks, waiting, strict=True) for job in task]

    def _on_refused(self, error: str, some: bool) -> None:
        line = squeue.first_error(error)
        if not some and not self._queue:
            raise LaunchError(f"sbatch: {line}")
        self._blocked_until = time.monotonic() + RETRY_SECONDS
        self._say(f"sbatch accepts no more jobs now: {line}; retrying later")

    # ---- jobs of an earlier driver

    def reattach(self, folders: Sequence[Path]) -> list[Handle]:
        wanted = {folder.name: folder for folder in folders}
        found = list(submissions.read_submissions(self._site.results))
        if not found:
            return []
        try:
            live = list(live_jobs(found))
        except squeue.SchedulerUnavailable as silent:
            raise LaunchError(f"{silent}: jobs of an earlier run may be in the queue, so none is submitted") from silent
        handles: list[Handle] = []
        for record in found:
            jobs = [job for job in live if job.record is record]
            if not jobs and submissions.is_finished(record, self._site.results):
                record.remove()
            ours = [(job, name) for job in jobs for name in job.trials if name in wanted]
            self._queue.add(list(dict.fromkeys(job for job, _ in ours)))
            handles += [Handle(Job((wanted[name],), Resources()), job) for job, name in ours]
        self._say_outdated(live)
        return handles

    def _say_outdated(self, live: Sequence[QueuedJob]) -> None:
        """Name the jobs of this study whose trials an edit of it has replaced: no command of ours is about them."""
        if (plan := find_plan(self._site.study_folder)) is None:
            return
        planned = {*plan.origins, *(trial.folder for trial in plan.trials)}
        for record in dict.fromkeys(job.record for job in live if job.record.study == self._study):
            jobs = [job for job in live if job.record is record]
            if old := [job for job in jobs if planned.isdisjoint(job.trials)]:
                trials = count(sum(len(job.trials) for job in old), "trial")
                which = f"--name={record.name}" if len(old) == len(jobs) else " ".join(job.id for job in old)
                self._say(f"{trials} of an earlier version of this study are in the queue too: scancel {which}")

    # ---- polling

    def poll(self, handles: Sequence[Handle]) -> dict[Handle, JobState]:
        if handles:
            self._queue.poll()
        for handle in handles:
            if handle.native.state == "gone":
                handle.exit_note, handle.ended_by_cluster = handle.native.exit_of(handle.job.folders[0].name)
        return {handle: handle.native.state for handle in handles}

    def messages(self) -> list[str]:
        messages, self._messages = self._messages, []
        return messages

    def _say(self, line: str) -> None:
        if line not in self._reported:
            self._reported.add(line)
            self._messages.append(line)

    # ---- ending

    def stop(self, handles: Sequence[Handle], kill: bool = False) -> None:
        """Jobs that also contain other trials continue."""
        given = {handle.job.folders[0].name for handle in handles}
        jobs = dict.fromkeys(handle.native for handle in handles)
        cancel([job for job in jobs if self._queue.has_no_work(job, given)], waiting=not kill)
        self._queue.poll_soon()
        if not kill:
            for handle in handles:
                TrialFolder(handle.job.folders[0]).request_stop()

    def close(self) -> None:
        """Leave jobs running; cancel those without unfinished trials (a held job, for example)."""
        for _ in range(FINAL_POLLS):
            if not self._queue or not all(
                self._queue.has_no_work(job, set(), ("done", "failed")) for job in self._queue
            ):
                break
            self._queue.poll_soon()
            self._queue.poll()
            cancel([job for job in self._queue if job.state == "waiting"], waiting=True)
            time.sleep(0.5 if self._queue else 0)
        for record in submissions.read_submissions(self._site.results):
            known = record.study == self._study and record.name not in self._queue.names
            if known and submissions.is_finished(record, self._site.results):
                record.remove()
