"""The loop that gets a set of trials done: submit, poll, read the folders, try again, stop.

A trial's life is read from its folder only. Failed and lost trials are queued again while attempts are left; what a
worker of an earlier driver still runs is watched, not started twice.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from studies.engine.context import Stop
from studies.engine.launch import Handle, Job, Launcher
from studies.engine.launch._process import GRACE
from studies.engine.trial import Resources, State, Trial
from studies.engine.watch import Watch
from studies.engine.worker import RUNNABLE

LONGEST = 500
"""Folders in one job: a command line has an end."""
BARREN = 3
"""So many jobs in a row that ended without starting a trial, and the driver gives up."""


@dataclass(frozen=True)
class Outcome:
    states: dict[str, State]
    """By folder id."""
    interrupted: bool
    problem: str = ""
    """Why the driver gave up although trials were left."""


class Drive:
    """`say` gets one line for what a reader of the terminal should know."""

    def __init__(
        self, trials: Sequence[Trial], watch: Watch, launcher: Launcher, stop: Stop, say: Callable[[str], None]
    ) -> None:
        self._launcher, self._watch, self._stop, self._say = launcher, watch, stop, say
        self._open = {trial.folder_id: trial for trial in trials}
        self._slots = {key: launcher.slots(r) for key, r in {repr(t.resources): t.resources for t in trials}.items()}
        self._handles: dict[Handle, int] = {}  # with the attempts counted when it was submitted
        self._failures: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._ends: dict[int, str] = {}
        self._lost: dict[str, float] = {}
        self._barren = 0
        self._problem = ""
        self._stopping: float | None = None

    def run(self) -> Outcome:
        for name, state in self._watch.look().items():
            if name in self._open and state.status in ("failed", "lost", "stopped"):
                self._queue(name, state)  # of an earlier run, whose failures are not counted here
        try:
            while self._step():
                time.sleep(self._launcher.interval if self._handles else 0.3)
        except KeyboardInterrupt:
            self._stop.ask()
            self._stopping = self._stopping or time.monotonic()
            self._launcher.stop(list(self._handles), kill=True)
        finally:
            self._launcher.close()
        self._leave()
        return Outcome(self._watch.look(), bool(self._stop) and not self._problem, self._problem)

    def _step(self) -> bool:
        """False when there is nothing more to do."""
        self._poll()
        self._settle(self._watch.look())
        if self._stop:
            return self._wind_down()
        if self._open and not self._problem:
            self._submit()
        if self._problem:
            self._stop.ask()
        return bool(self._open)

    # ---- jobs

    def _attempts(self) -> int:
        return sum(state.attempt for state in self._watch.look().values())

    def _poll(self) -> None:
        for handle, state in self._launcher.poll(list(self._handles)).items():
            if state != "gone":
                continue
            before = self._handles.pop(handle)
            self._ends[handle.pid] = handle.note
            self._barren = 0 if self._attempts() > before else self._barren + 1
            if self._barren >= BARREN and not self._stop:
                self._problem = f"workers end before they start a trial: {handle.note or 'no reason given'}"

    def _submit(self) -> None:
        states = self._watch.look()
        taken = set() if self._launcher.steals else {folder.name for h in self._handles for folder in h.job.folders}
        waiting = [t for n, t in self._open.items() if states[n].status in RUNNABLE and n not in taken]
        groups: dict[str, list[Trial]] = {}
        for trial in waiting:
            groups.setdefault(repr(self._resources(trial)), []).append(trial)
        jobs = [job for group in groups.values() for job in self._jobs(group)]
        if jobs:
            attempts = self._attempts()
            self._handles.update((handle, attempts) for handle in self._launcher.submit(jobs))

    def _jobs(self, trials: Sequence[Trial]) -> list[Job]:
        resources = self._resources(trials[0])
        folders = [self._watch.folders[trial.folder_id].path for trial in trials]
        if not self._launcher.steals:
            size = self._launcher.pack
            return [Job(tuple(folders[i : i + size]), resources) for i in range(0, len(folders), size)]
        key = repr(resources)
        slots = self._slots.setdefault(key, self._launcher.slots(resources))
        free = slots - sum(repr(handle.job.resources) == key for handle in self._handles)
        turned = (folders[i:] + folders[:i] for i in range(min(free, len(folders))))
        return [Job(tuple(order[:LONGEST]), resources) for order in turned]

    def _resources(self, trial: Trial) -> Resources:
        if trial.folder_id in self._alone:
            return replace(trial.resources, gpus=math.ceil(trial.resources.gpus))
        return trial.resources

    # ---- trials

    def _settle(self, states: dict[str, State]) -> None:
        for name in list(self._open):
            state = states[name]
            if state.status == "done":
                del self._open[name]
            elif self._stop:
                continue
            elif state.status == "stopped":
                self._queue(name, state)  # by an earlier driver, or for another study
            elif state.status == "failed":
                self._failed(name, state)
            elif state.status == "lost" and self._mourned(name, state):
                self._failed(name, replace(state, reason=self._ends.get(state.pid) or state.reason))

    def _mourned(self, name: str, state: State) -> bool:
        """A moment after the loss was seen, so that the launcher can say how the process ended."""
        since = self._lost.setdefault(name, time.monotonic())
        if state.pid not in self._ends and self._handles and time.monotonic() - since < 1.0:
            return False
        del self._lost[name]
        return True

    def _failed(self, name: str, state: State) -> None:
        trial = self._open[name]
        self._failures[name] += 1
        again = self._failures[name] <= trial.resources.retries
        if state.reason == "oom" and 0 < trial.resources.gpus < 1 and name not in self._alone:
            self._alone.add(name)
            again = True
        if again:
            self._say(
                f"again     {name}  {trial.arm.part} {trial.arm.label} s{trial.seed}  {state.status}: {state.reason}"
            )
            self._queue(name, state)
            return
        if state.status == "lost":
            self._watch.folders[name].settle(replace(state, ended=state.ended or time.time()))
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
