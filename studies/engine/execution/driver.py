"""The driver loop over a set of trials: submit, poll, read the folders, retry, stop.

A trial's state comes from its folder only. Failed and lost trials are retried while attempts are left; a trial that a
worker of an earlier driver still runs is watched, not started twice.
"""

from __future__ import annotations

import errno
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import State, Trial
from studies.engine.execution.exit_notes import ExitNotes
from studies.engine.execution.job_batching import JobBatcher
from studies.engine.jobs.launcher import BatchLauncher, Handle, JobState, Launcher
from studies.engine.jobs.worker_process import STOP_GRACE_SECONDS
from studies.engine.runtime.worker import RUNNABLE
from studies.engine.storage.checkpoint import Checkpoint
from studies.engine.storage.lease import HEARTBEAT_SECONDS
from studies.engine.storage.state_watcher import StateWatcher

EXIT_NOTE_SECONDS = 5.0
"""Seconds for the launcher to report how the job of a trial ended that this driver did not stop."""
LOSS_SECONDS = max(1.0, HEARTBEAT_SECONDS)
"""Seconds from the first sight of a loss, while its job runs: a suspended worker that goes on takes them at most."""
MAX_JOBS_WITHOUT_START = 3
"""Jobs in a row that end without starting a trial before the driver gives up."""


@dataclass(frozen=True)
class DriverResult:
    states: dict[str, State]
    """By folder id."""
    interrupted: bool
    problem: str = ""
    """Why the driver gave up with trials left."""
    detached: int = 0
    """Jobs that continue without the driver."""


class Driver:
    """`say` receives lines for the terminal."""

    def __init__(
        self,
        trials: Sequence[Trial],
        watch: StateWatcher,
        launcher: Launcher,
        stop: StopRequest,
        say: Callable[[str], None],
    ) -> None:
        self._launcher, self._watch, self._stop, self._say = launcher, watch, stop, say
        self._batch = launcher if isinstance(launcher, BatchLauncher) else None
        self._open = {trial.folder_id: trial for trial in trials}
        self._batcher = JobBatcher(trials, launcher, watch.folders)
        self._handles: dict[Handle, int] = {}  # attempts so far, when submitted (batch: the trial's)
        self._failures: Counter[str] = Counter()
        self._exit_notes = ExitNotes()
        self._job_states: dict[Handle, JobState] = {}
        self._ended_jobs: dict[str, tuple[Handle, int]] = {}  # a trial's last job, and its attempts before
        self._checkpoint_ids: dict[str, str] = {}  # digests at each trial's last requeue
        self._initial_attempts: dict[str, int] = {}
        self._jobs_without_start = 0
        self._problem = ""
        self._stopping_since: float | None = None

    def run(self, detach: bool = False) -> DriverResult:
        """Run until all trials have ended. detach: only submit (a `BatchLauncher`)."""
        if self._batch is not None:
            if found := self._batch.reattach([self._watch.folders[name].path for name in self._open]):
                self._say(f"reattached {len(found)} trials whose jobs are in the queue")
            self._handles.update(dict.fromkeys(found, -1))
        for name, state in self._watch.poll().items():
            self._initial_attempts[name] = state.attempt
            if name in self._open and state.status in ("failed", "lost", "stopped"):
                self._requeue(name, state)  # failures of an earlier run do not count
        left = 0
        try:
            while self._step() and not detach:
                self._pause()
            left = len(self._handles) if detach or self._detaches() else 0
        except KeyboardInterrupt:
            self._stop.request()
            self._stopping_since = self._stopping_since or time.monotonic()
            self._launcher.stop(list(self._handles), kill=True)
        finally:
            self._show_messages()
            self._launcher.close()
        if not left:
            self._mark_killed()
        return DriverResult(self._watch.poll(), bool(self._stop) and not self._problem, self._problem, left)

    def _pause(self) -> None:
        """Wait for the next poll, or for a stop request."""
        until = time.monotonic() + (self._launcher.interval if self._handles else 0.3)
        while not (self._stop and self._stopping_since is None) and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.2, left))

    def _detaches(self) -> bool:
        """Return whether jobs continue without this driver."""
        return self._batch is not None and self._stop.detach and not self._problem

    def _show_messages(self) -> None:
        for line in self._batch.messages() if self._batch else ():
            self._say(f"queue     {line}")

    def _step(self) -> bool:
        """Return whether there is more to do."""
        self._poll()
        self._update_trials(self._watch.poll())
        if self._stop:
            return not self._detaches() and self._shutdown()
        if self._open and not self._problem:
            self._submit()
        self._show_messages()
        if self._problem:
            self._stop.request()
        return bool(self._open)

    # ---- jobs

    def _total_attempts(self) -> int:
        return sum(state.attempt for state in self._watch.poll().values())

    def _poll(self) -> None:
        self._job_states = self._launcher.poll(list(self._handles))
        for handle, state in self._job_states.items():
            if state != "gone":
                continue
            before = self._handles.pop(handle)
            self._exit_notes.add(handle)
            if self._batch is not None:
                self._ended_jobs[handle.job.folders[0].name] = handle, before
                continue
            self._jobs_without_start = 0 if self._total_attempts() > before else self._jobs_without_start + 1
            if self._jobs_without_start >= MAX_JOBS_WITHOUT_START and not self._stop:
                why = {"": "no reason given", "oom": "out of memory"}.get(handle.exit_note, handle.exit_note)
                self._problem = f"workers exit before starting a trial: {why}"

    def _submit(self) -> None:
        states, taken = self._watch.poll(), self._job_state_by_trial()
        waiting = [t for n, t in self._open.items() if states[n].status in RUNNABLE and n not in taken]
        jobs = self._batcher.jobs(waiting, list(self._handles))
        if jobs:
            attempts = self._total_attempts()
            for handle in self._launcher.submit(jobs):
                name = handle.job.folders[0].name
                self._ended_jobs.pop(name, None)
                self._handles[handle] = states[name].attempt if self._batch else attempts

    def _job_state_by_trial(self) -> dict[str, JobState]:
        """Return the last known job state of each trial in a batch queue."""
        if self._launcher.work_stealing:
            return {}
        return {f.name: self._job_states.get(h, "waiting") for h in self._handles for f in h.job.folders}

    # ---- trials

    def _update_trials(self, states: dict[str, State]) -> None:
        taken = self._job_state_by_trial()
        for name in list(self._open):
            state = states[name]
            if state.status not in ("lost", "stopped"):
                self._exit_notes.forget(name)
            if state.status == "done":
                del self._open[name]
            elif self._stop:
                continue
            elif state.status == "stopped":
                self._on_stopped(name, state)
            elif state.status == "failed":
                self._on_failed(name, state)
            elif self._batch is not None:
                self._update_batch_trial(name, state, taken.get(name))
            elif state.status == "lost":
                self._on_lost(name, state)

    def _on_lost(self, name: str, state: State) -> None:
        """Count a lost worker as a failure, unless its job runs on: then only its claim was lost."""
        jobs = [job for job in self._handles if any(folder.name == name for folder in job.job.folders)]
        if not self._exit_notes.is_known(name, state, LOSS_SECONDS if self._handles else 0.0):
            return
        note = self._exit_notes.of(state)
        if note is None and any(self._job_states.get(job) == "running" for job in jobs):
            if self._requeue(name, state):
                self._say(f"retry     {name}  {state.reason}")
        else:
            self._on_failed(name, replace(state, reason=note or state.reason))

    def _update_batch_trial(self, name: str, state: State, job: JobState | None) -> None:
        """Requeue or fail a trial whose batch job lost or preempted it. job: the current state of that job."""
        ended, before = self._ended_jobs.get(name, (None, 0))
        if state.status == "lost" and job != "running":  # else wait for the job's end, which gives the reason
            # without an end, the queue reruns the job itself (a failed node, for example)
            by_cluster = ended.ended_by_cluster if ended else job is not None
            reason = (ended.exit_note if ended else "") or state.reason
        elif ended is not None and state.status == "preempted":
            by_cluster, reason = True, ended.exit_note or "its job ended after saving a checkpoint"
        elif ended is not None and state.status in RUNNABLE and state.attempt == before:
            by_cluster, reason = False, ended.exit_note or "its job ended before the trial started"
        else:
            return
        digest = Checkpoint(self._watch.folders[name]).digest()
        if by_cluster and digest != self._checkpoint_ids.get(name, ""):  # it made progress
            if self._requeue(name, state):
                self._checkpoint_ids[name] = digest
                self._say(f"retry     {name}  {reason}")
        else:
            self._on_failed(name, replace(state, status="lost", reason=reason))

    def _on_stopped(self, name: str, state: State) -> None:
        """Requeue a trial stopped by an earlier driver, another study or its node; out of memory is a failure."""
        own = self._handles and state.attempt > self._initial_attempts.get(name, 0)
        if own and not self._exit_notes.is_known(name, state, EXIT_NOTE_SECONDS):
            return
        self._exit_notes.forget(name)
        if self._exit_notes.of(state) == "oom":
            failed = replace(state, status="failed", reason="oom", ended=state.ended or time.time())
            self._set_state(name, failed)
            self._on_failed(name, failed)
        else:
            self._requeue(name, state)

    def _on_failed(self, name: str, state: State) -> None:
        trial = self._open[name]
        alone = state.reason == "oom" and 0 < trial.resources.gpus < 1 and name not in self._batcher.exclusive
        if alone or (self._failures[name] < trial.resources.retries and not state.permanent):
            if self._requeue(name, state):  # else its worker still holds the lease: the same failure at the next poll
                self._failures[name] += 1
                if alone:
                    self._batcher.exclusive.add(name)
                label = f"{trial.arm.part} {trial.arm.label} s{trial.seed}"
                self._say(f"retry     {name}  {label}  {state.status}: {state.reason}")
            return
        if state.status == "lost":
            self._set_state(name, replace(state, ended=state.ended or time.time()))
        if self._batch is not None:  # its job would requeue itself
            self._launcher.stop([h for h in self._handles if h.job.folders[0].name == name], kill=True)
        self._open.pop(name, None)

    def _requeue(self, name: str, state: State) -> bool:
        """Return False where a worker holds the trial, it is done, or its folder cannot be used."""
        queued = self._set_state(name, replace(state, status="queued"))
        if queued:
            self._ended_jobs.pop(name, None)
        return queued

    def _set_state(self, name: str, state: State) -> bool:
        try:
            return self._watch.folders[name].set_state_if_idle(state)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):  # of all trials
                raise
            self._say(f"failed    {name}  its folder cannot be used: {error.strerror}")
            self._open.pop(name, None)
            return False

    # ---- the end

    def _shutdown(self) -> bool:
        now = time.monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
            self._launcher.stop(list(self._handles))
        elif now - self._stopping_since > STOP_GRACE_SECONDS:
            self._launcher.stop(list(self._handles), kill=True)
        return bool(self._handles)

    def _mark_killed(self) -> None:
        """Mark trials whose worker had to be killed as stopped, for the next run."""
        if not self._stop:
            return
        for name, state in self._watch.poll().items():
            if name in self._open and state.status == "lost":
                self._set_state(name, replace(state, status="stopped", reason="killed while stopping"))
