"""The jobs that a driver has submitted: their states, and how they ended."""

from __future__ import annotations

from collections.abc import Callable

from studies.engine.execution.exit_notes import ExitNotes
from studies.engine.jobs.launcher import BatchLauncher, Handle, JobState, Launcher

MAX_JOBS_WITHOUT_START = 3
"""Jobs in a row that end without starting a trial before the driver gives up."""


class JobTable:
    def __init__(self, launcher: Launcher) -> None:
        self._launcher, self._queue = launcher, isinstance(launcher, BatchLauncher)
        self.handles: dict[Handle, int] = {}
        """Attempts so far, when submitted (in a queue: the trial's)."""
        self.ended: dict[str, tuple[Handle, int]] = {}
        """In a queue, by trial: its last job, and its attempts before."""
        self.exit_notes = ExitNotes()
        self.problem = ""
        """Why no more jobs are worth submitting."""
        self._states: dict[Handle, JobState] = {}
        self._without_start = 0

    def poll(self, attempts: Callable[[], int], stopping: bool) -> None:
        """Read the jobs' states. attempts: of all trials."""
        self._states = self._launcher.poll(list(self.handles))
        for handle, state in self._states.items():
            if state != "gone":
                continue
            before = self.handles.pop(handle)
            self.exit_notes.add(handle)
            if self._queue:
                self.ended[handle.job.folders[0].name] = handle, before
                continue
            self._without_start = 0 if attempts() > before else self._without_start + 1
            if self._without_start >= MAX_JOBS_WITHOUT_START and not stopping:
                why = {"": "no reason given", "oom": "out of memory"}.get(handle.exit_note, handle.exit_note)
                self.problem = f"workers exit before starting a trial: {why}"

    def by_trial(self) -> dict[str, JobState]:
        """Return the last known job state of each trial in a queue."""
        if self._launcher.work_stealing:
            return {}
        return {f.name: self._states.get(h, "waiting") for h in self.handles for f in h.job.folders}

    def is_running(self, trial: str) -> bool:
        """Return whether a job that has the trial runs."""
        jobs = [job for job in self.handles if any(folder.name == trial for folder in job.job.folders)]
        return any(self._states.get(job) == "running" for job in jobs)

    def stop(self, trial: str = "", kill: bool = False) -> None:
        """Stop all jobs, or in a queue the job of one trial."""
        chosen = [h for h in self.handles if not trial or h.job.folders[0].name == trial]
        self._launcher.stop(chosen, kill=kill)
