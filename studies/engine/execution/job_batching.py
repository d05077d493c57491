"""Trials grouped into jobs: overlapping lists for work-stealing launchers, each trial once for queues."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from studies.engine.core.trial import Resources, Trial
from studies.engine.jobs.launcher import BatchLauncher, Handle, Job, Launcher
from studies.engine.storage.trial_folder import TrialFolder

MAX_TRIALS_PER_JOB = 500
"""Folders in one job: the length of a command line is limited."""


def check_capacity(trials: Iterable[Trial], launcher: Launcher) -> dict[str, int]:
    """Return how many jobs of the trials' resources to run at once; LaunchError where one can never run."""
    return {key: launcher.capacity(r) for key, r in {repr(t.resources): t.resources for t in trials}.items()}


class JobBatcher:
    """Create it before submitting: LaunchError where the launcher can never run a trial."""

    def __init__(self, trials: Iterable[Trial], launcher: Launcher, folders: Mapping[str, TrialFolder]) -> None:
        self._launcher, self._folders = launcher, folders
        self.exclusive: set[str] = set()
        """Trials that get a whole GPU."""
        self._capacity = check_capacity(trials, launcher)

    def jobs(self, waiting: Sequence[Trial], handles: Sequence[Handle]) -> list[Job]:
        """Return new jobs for the waiting trials, given the submitted ones."""
        groups: dict[str, list[Trial]] = {}
        for trial in waiting:
            groups.setdefault(repr(self._resources(trial)), []).append(trial)
        return [job for group in groups.values() for job in self._group(group, handles)]

    def _group(self, trials: Sequence[Trial], handles: Sequence[Handle]) -> list[Job]:
        resources = self._resources(trials[0])
        folders = [self._folders[trial.folder_id].path for trial in trials]
        if resources.world > 1:  # one job per trial starts all its processes
            busy = {folder for handle in handles for folder in handle.job.folders}
            folders = [folder for folder in folders if folder not in busy]
        key = repr(resources)
        capacity = self._capacity.setdefault(key, self._launcher.capacity(resources))
        if not self._launcher.work_stealing:
            size = self._launcher.trials_per_job if resources.world == 1 else 1
            jobs = [Job(tuple(folders[i : i + size]), resources) for i in range(0, len(folders), size)]
            return jobs[: max(0, capacity - len(handles))] if isinstance(self._launcher, BatchLauncher) else jobs
        free = capacity - sum(repr(handle.job.resources) == key for handle in handles)
        rotated: list[list[Path]] = [folders[i:] + folders[:i] for i in range(min(free, len(folders)))]
        most = 1 if resources.world > 1 else MAX_TRIALS_PER_JOB
        return [Job(tuple(order[:most]), resources) for order in rotated]

    def _resources(self, trial: Trial) -> Resources:
        if trial.folder_id in self.exclusive:
            return replace(trial.resources, gpus=math.ceil(trial.resources.gpus))
        return trial.resources
