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
from studies.engine.execution.exit_notes import EXIT_NOTE_SECONDS, LOSS_SECONDS
from studies.engine.execution.job_batching import JobBatcher
from studies.engine.execution.job_table import JobTable
from studies.engine.execution.stages import Stages
from studies.engine.jobs.launcher import BatchLauncher, JobState, Launcher
from studies.engine.jobs.worker_process import STOP_GRACE_SECONDS
from studies.engine.runtime.worker import RUNNABLE
from studies.engine.storage.checkpoint import Checkpoint
from studies.engine.storage.state_watcher import StateWatcher


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
        self._jobs = JobTable(launcher)
        self._stages = Stages(watch.folders, {trial.folder_id: trial.name for trial in trials})
        self._failures: Counter[str] = Counter()
        self._checkpoint_ids: dict[str, str] = {}  # digests at each trial's last requeue
        self._initial_attempts: dict[str, int] = {}
        self._stopping_since: float | None = None

    def run(self, detach: bool = False) -> DriverResult:
        """Run until all trials have ended. detach: only submit (a `BatchLauncher`)."""
        if self._batch is not None:
            if found := self._batch.reattach([self._watch.folders[name].path for name in self._open]):
                self._say(f"reattached {len(found)} trials whose jobs are in the queue")
            self._jobs.handles.update(dict.fromkeys(found, -1))
        for name, state in self._watch.poll().items():
            self._initial_attempts[name] = state.attempt
            if name in self._open and state.status in ("failed", "lost", "stopped"):
                self._requeue(name, state)  # failures of an earlier run do not count
        left = 0
        try:
            while self._step() and not detach:
                self._pause()
            left = len(self._jobs.handles) if detach or self._detaches() else 0
        except KeyboardInterrupt:
            self._stop.request()
            self._stopping_since = self._stopping_since or time.monotonic()
            self._jobs.stop(kill=True)
        finally:
            self._show_messages()
            self._launcher.close()
        if not left:
            self._mark_killed()
        return DriverResult(self._watch.poll(), bool(self._stop) and not self._jobs.problem, self._jobs.problem, left)

    def _pause(self) -> None:
        """Wait for the next poll, or for a stop request."""
        until = time.monotonic() + (self._launcher.interval if self._jobs.handles else 0.3)
        while not (self._stop and self._stopping_since is None) and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.2, left))

    def _detaches(self) -> bool:
        """Return whether jobs continue without this driver."""
        return self._batch is not None and self._stop.detach and not self._jobs.problem

    def _show_messages(self) -> None:
        for line in self._batch.messages() if self._batch else ():
            self._say(f"queue     {line}")

    def _step(self) -> bool:
        """Return whether there is more to do."""
        self._jobs.poll(self._total_attempts, bool(self._stop))
        self._update_trials(self._watch.poll())
        if self._stop:
            return not self._detaches() and self._shutdown()
        if self._open and not self._jobs.problem:
            self._submit()
        self._show_messages()
        if self._jobs.problem:
            self._stop.request()
        return bool(self._open)

    # ---- jobs

    def _total_attempts(self) -> int:
        return sum(state.attempt for state in self._watch.poll().values())

    def _submit(self) -> None:
        states, taken = self._watch.poll(), self._jobs.by_trial()
        free = [t for n, t in self._open.items() if states[n].status in RUNNABLE and n not in taken]
        waiting = [trial for trial in free if self._stages.are_ready(trial, states)]
        if jobs := self._batcher.jobs(waiting, list(self._jobs.handles)):
            attempts = self._total_attempts()
            for handle in self._launcher.submit(jobs):
                name = handle.job.folders[0].name
                self._jobs.ended.pop(name, None)
                self._jobs.handles[handle] = states[name].attempt if self._batch else attempts

    # ---- trials

    def _update_trials(self, states: dict[str, State]) -> None:
        taken = self._jobs.by_trial()
        for name in list(self._open):
            state = states[name]
            if state.status not in ("lost", "stopped"):
                self._jobs.exit_notes.forget(name)
            if state.status == "done":
                del self._open[name]
            elif self._stop:
                continue
            elif state.status in RUNNABLE and (why := self._stages.why_never(self._open[name], states, self._open)):
                self._set_state(name, replace(state, status="failed", reason=why))
                self._open.pop(name, None)
            elif state.status == "stopped":
                self._on_stopped(name, state)
            elif state.status == "failed":
                self._on_failed(name, state)
            elif self._batch is not None:
                self._update_batch_trial(name, state, taken.get(name))
            elif state.status == "lost":
                self._on_lost(name, state)

    def _on_lost(self, name: str, state: State) -> None:
        """Count a lost worker as a failure, unless another driver started it, or its job runs on and lost its claim."""
        notes = self._jobs.exit_notes
        if not notes.is_known(name, state, LOSS_SECONDS if self._jobs.handles else 0.0):
            return
        note = notes.of(state)
        if note is None and (state.attempt <= self._initial_attempts[name] or self._jobs.is_running(name)):
            if self._requeue(name, state):
                self._say(f"retry     {name}  {state.reason}")
        else:
            self._on_failed(name, replace(state, reason=note or state.reason))

    def _update_batch_trial(self, name: str, state: State, job: JobState | None) -> None:
        """Requeue or fail a trial whose batch job lost or preempted it. job: the current state of that job."""
        ended, before = self._jobs.ended.get(name, (None, 0))
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
        own = self._jobs.handles and state.attempt > self._initial_attempts.get(name, 0)
        if own and not self._jobs.exit_notes.is_known(name, state, EXIT_NOTE_SECONDS):
            return
        self._jobs.exit_notes.forget(name)
        if self._jobs.exit_notes.of(state) == "oom":
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
                self._say(f"retry     {name}  {trial.name}  {state.status}: {state.reason}")
            return
        if state.status == "lost":
            self._set_state(name, replace(state, ended=state.ended or time.time()))
        if self._batch is not None:  # its job would requeue itself
            self._jobs.stop(name, kill=True)
        self._open.pop(name, None)

    def _requeue(self, name: str, state: State) -> bool:
        """Return False where a worker holds the trial, it is done, or its folder cannot be used."""
        queued = self._set_state(name, replace(state, status="queued"))
        if queued:
            self._jobs.ended.pop(name, None)
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
            self._jobs.stop()
        elif now - self._stopping_since > STOP_GRACE_SECONDS:
            self._jobs.stop(kill=True)
        return bool(self._jobs.handles)

    def _mark_killed(self) -> None:
        """Mark trials whose worker had to be killed as stopped, for the next run."""
        if not self._stop:
            return
        for name, state in self._watch.poll().items():
            if name in self._open and state.status == "lost":
                self._set_state(name, replace(state, status="stopped", reason="killed while stopping"))
