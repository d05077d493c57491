"""Which trials go into which jobs: overlapping lists for launchers that steal, each trial once for queues."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from studies.engine.core.trial import Resources, Trial
from studies.engine.jobs.launcher import BatchLauncher, Handle, Job, Launcher
from studies.engine.storage.trial_folder import TrialFolder

MAX_TRIALS_PER_JOB = 500
"""Folders in one job: a command line has an end."""


class JobBatcher:
    """Made before anything is submitted: a launcher that can never run a trial says so then."""

    def __init__(self, trials: Iterable[Trial], launcher: Launcher, folders: Mapping[str, TrialFolder]) -> None:
        self._launcher, self._folders = launcher, folders
        self.exclusive: set[str] = set()
        """Trials that get a whole GPU."""
        self._capacity = {
            key: launcher.capacity(r) for key, r in {repr(t.resources): t.resources for t in trials}.items()
        }

    def jobs(self, waiting: Sequence[Trial], handles: Sequence[Handle]) -> list[Job]:
        """For the trials that wait, besides the jobs there are."""
        groups: dict[str, list[Trial]] = {}
        for trial in waiting:
            groups.setdefault(repr(self._resources(trial)), []).append(trial)
        return [job for group in groups.values() for job in self._group(group, handles)]

    def _group(self, trials: Sequence[Trial], handles: Sequence[Handle]) -> list[Job]:
        resources = self._resources(trials[0])
        folders = [self._folders[trial.folder_id].path for trial in trials]
        if resources.world > 1:  # its processes are started for one trial, together
            busy = {folder for handle in handles for folder in handle.job.folders}
            folders = [folder for folder in folders if folder not in busy]
        key = repr(resources)
        slots = self._capacity.setdefault(key, self._launcher.capacity(resources))
        if not self._launcher.work_stealing:
            size = self._launcher.trials_per_job if resources.world == 1 else 1
            jobs = [Job(tuple(folders[i : i + size]), resources) for i in range(0, len(folders), size)]
            return jobs[: max(0, slots - len(handles))] if isinstance(self._launcher, BatchLauncher) else jobs
        free = slots - sum(repr(handle.job.resources) == key for handle in handles)
        turned: list[list[Path]] = [folders[i:] + folders[:i] for i in range(min(free, len(folders)))]
        most = 1 if resources.world > 1 else MAX_TRIALS_PER_JOB
        return [Job(tuple(order[:most]), resources) for order in turned]

    def _resources(self, trial: Trial) -> Resources:
        if trial.folder_id in self.exclusive:
            return replace(trial.resources, gpus=math.ceil(trial.resources.gpus))
        return trial.resources
