"""The loop that gets a set of trials done: submit, poll, read the folders, try again, stop.

A trial's life is read from its folder only. Failed and lost trials are queued again while attempts are left; what a
worker of an earlier driver still runs is watched, not started twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from studies.engine.core.trial import State, Trial
from studies.engine.execution.job_batching import Dealer
from studies.engine.jobs.launcher import Batch, Handle, JobState, Launcher
from studies.engine.jobs.worker_process import GRACE
from studies.engine.runtime.context import Stop
from studies.engine.runtime.worker import RUNNABLE
from studies.engine.storage.checkpoint import Checkpoint
from studies.engine.storage.state_watcher import Watch

ENDED_SECONDS = 5.0
"""For the launcher to say how the job of a trial ended that was stopped, though not by us."""
BARREN = 3
"""So many jobs in a row that ended without starting a trial, and the driver gives up."""


@dataclass(frozen=True)
class Outcome:
    states: dict[str, State]
    """By folder id."""
    interrupted: bool
    problem: str = ""
    """Why the driver gave up although trials were left."""
    detached: int = 0
    """Jobs that go on without the driver."""


class Drive:
    """`say` gets one line for what a reader of the terminal should know."""

    def __init__(
        self, trials: Sequence[Trial], watch: Watch, launcher: Launcher, stop: Stop, say: Callable[[str], None]
    ) -> None:
        self._launcher, self._watch, self._stop, self._say = launcher, watch, stop, say
        self._batch = launcher if isinstance(launcher, Batch) else None
        self._open = {trial.folder_id: trial for trial in trials}
        self._dealer = Dealer(trials, launcher, watch.folders)
        self._handles: dict[Handle, int] = {}  # with the attempts counted when it was submitted (a batch: the trial's)
        self._failures: Counter[str] = Counter()
        self._ends: dict[int, str] = {}
        self._jobs_now: dict[Handle, JobState] = {}
        self._ended: dict[str, tuple[Handle, int]] = {}  # the trial's last job, and its attempts before
        self._marks: dict[str, str] = {}  # of the checkpoints with which trials were sent back into the queue
        self._lost: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self._barren = 0
        self._problem = ""
        self._stopping: float | None = None

    def run(self, detach: bool = False) -> Outcome:
        """detach: only submit; for a `Batch`."""
        self._adopt()
        for name, state in self._watch.look().items():
            self._before[name] = state.attempt
            if name in self._open and state.status in ("failed", "lost", "stopped"):
                self._queue(name, state)  # of an earlier run, whose failures are not counted here
        left = 0
        try:
            while self._step() and not detach:
                self._pause()
            left = len(self._handles) if detach or self._leaves() else 0
        except KeyboardInterrupt:
            self._stop.ask()
            self._stopping = self._stopping or time.monotonic()
            self._launcher.stop(list(self._handles), kill=True)
        finally:
            self._news()
            self._launcher.close()
        if not left:
            self._leave()
        return Outcome(self._watch.look(), bool(self._stop) and not self._problem, self._problem, left)

    def _adopt(self) -> None:
        if self._batch is None:
            return
        adopted = self._batch.adopt([self._watch.folders[name].path for name in self._open])
        if adopted:
            self._say(f"adopted   {len(adopted)} trials whose jobs are in the queue")
            self._handles.update(dict.fromkeys(adopted, -1))

    def _pause(self) -> None:
        """Until the next look; a stop is heard at once."""
        until = time.monotonic() + (self._launcher.interval if self._handles else 0.3)
        while not (self._stop and self._stopping is None) and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.2, left))

    def _leaves(self) -> bool:
        """Whether jobs are to go on without this driver."""
        return self._batch is not None and self._stop.leave and not self._problem

    def _news(self) -> None:
        for line in self._batch.news() if self._batch else ():
            self._say(f"queue     {line}")

    def _step(self) -> bool:
        """False when there is nothing more to do."""
        self._poll()
        self._settle(self._watch.look())
        if self._stop:
            return not self._leaves() and self._wind_down()
        if self._open and not self._problem:
            self._submit()
        self._news()
        if self._problem:
            self._stop.ask()
        return bool(self._open)

    # ---- jobs

    def _attempts(self) -> int:
        return sum(state.attempt for state in self._watch.look().values())

    def _poll(self) -> None:
        self._jobs_now = self._launcher.poll(list(self._handles))
        for handle, state in self._jobs_now.items():
            if state != "gone":
                continue
            before = self._handles.pop(handle)
            self._ends[handle.pid] = handle.note
            if self._batch is not None:
                self._ended[handle.job.folders[0].name] = handle, before
                continue
            self._barren = 0 if self._attempts() > before else self._barren + 1
            if self._barren >= BARREN and not self._stop:
                why = {"": "no reason given", "oom": "out of memory"}.get(handle.note, handle.note)
                self._problem = f"workers end before they start a trial: {why}"

    def _submit(self) -> None:
        states = self._watch.look()
        taken = self._taken()
        waiting = [t for n, t in self._open.items() if states[n].status in RUNNABLE and n not in taken]
        jobs = self._dealer.jobs(waiting, list(self._handles))
        if jobs:
            attempts = self._attempts()
            for handle in self._launcher.submit(jobs):
                name = handle.job.folders[0].name
                self._ended.pop(name, None)
                self._handles[handle] = states[name].attempt if self._batch else attempts

    def _taken(self) -> dict[str, JobState]:
        """Trials that a job of a queue has, and how the job was when last looked at."""
        if self._launcher.steals:
            return {}
        return {f.name: self._jobs_now.get(h, "waiting") for h in self._handles for f in h.job.folders}

    # ---- trials

    def _settle(self, states: dict[str, State]) -> None:
        taken = self._taken()
        for name in list(self._open):
            state = states[name]
            if state.status == "done":
                del self._open[name]
            elif self._stop:
                continue
            elif state.status == "stopped":
                self._stopped(name, state)
            elif state.status == "failed":
                self._failed(name, state)
            elif self._batch is not None:
                self._queued(name, state, taken.get(name), *self._ended.get(name, (None, 0)))
            elif state.status == "lost" and self._mourned(name, state):
                self._failed(name, replace(state, reason=self._ends.get(state.pid) or state.reason))

    def _queued(self, name: str, state: State, job: JobState | None, ended: Handle | None, before: int) -> None:
        """A trial that a queue's job had. job: how that stands now; ended: the one that has just gone, `before` which
        the trial had had so many attempts."""
        if state.status == "lost" and job != "running":  # else its end, which tells more, is still to come
            site = ended.site if ended else job is not None  # a queue runs the job again: a failed node, say
            reason = (ended.note if ended else "") or state.reason
        elif ended is not None and state.status == "preempted":
            site, reason = True, ended.note or "its job ended after it had saved"
        elif ended is not None and state.status in RUNNABLE and state.attempt == before:
            site, reason = False, ended.note or "its job ended before it began"
        else:
            return
        self._ended.pop(name, None)
        mark = Checkpoint(self._watch.folders[name]).mark()
        if site and mark != self._marks.get(name, ""):
            self._marks[name] = mark
            self._say(f"again     {name}  {reason}")
            self._queue(name, state)
        else:
            self._failed(name, replace(state, status="lost", reason=reason))

    def _stopped(self, name: str, state: State) -> None:
        """By an earlier driver, for another study, with its node; or as memory ran out, which must end some day."""
        ours = self._handles and state.attempt > self._before.get(name, 0)
        if ours and not self._mourned(name, state, ENDED_SECONDS):
            return
        self._lost.pop(name, None)
        if self._ends.get(state.pid) == "oom":
            failed = replace(state, status="failed", reason="oom", ended=state.ended or time.time())
            self._watch.folders[name].settle(failed)
            self._failed(name, failed)
        else:
            self._queue(name, state)

    def _mourned(self, name: str, state: State, seconds: float = 1.0) -> bool:
        """A moment after the loss was seen, so that the launcher can say how the process ended."""
        since = self._lost.setdefault(name, time.monotonic())
        if state.pid not in self._ends and self._handles and time.monotonic() - since < seconds:
            return False
        del self._lost[name]
        return True

    def _failed(self, name: str, state: State) -> None:
        trial = self._open[name]
        self._failures[name] += 1
        again = self._failures[name] <= trial.resources.retries
        if state.reason == "oom" and 0 < trial.resources.gpus < 1 and name not in self._dealer.alone:
            self._dealer.alone.add(name)
            again = True
        if again:
            self._say(
                f"again     {name}  {trial.arm.part} {trial.arm.label} s{trial.seed}  {state.status}: {state.reason}"
            )
            self._queue(name, state)
            return
        if state.status == "lost":
            self._watch.folders[name].settle(replace(state, ended=state.ended or time.time()))
        if self._batch is not None:  # a job that would come back for it
            self._launcher.stop([h for h in self._handles if h.job.folders[0].name == name], kill=True)
        del self._open[name]

    def _queue(self, name: str, state: State) -> None:
        self._watch.folders[name].settle(replace(state, status="queued"))

    # ---- the end

    def _wind_down(self) -> bool:
        now = time.monotonic()
        if self._stopping is None:
            self._stopping = now
            self._launcher.stop(list(self._handles))
        elif now - self._stopping > GRACE:
            self._launcher.stop(list(self._handles), kill=True)
        return bool(self._handles)

    def _leave(self) -> None:
        """Trials whose worker had to be killed are stopped ones: they wait for the next run."""
        if not self._stop:
            return
        for name, state in self._watch.look().items():
            if name in self._open and state.status == "lost":
                self._watch.folders[name].settle(replace(state, status="stopped", reason="killed while stopping"))
