"""Progress of running trials: a live display on a terminal, plain lines elsewhere.

A separate thread reads the trial folders, so that it updates while a trial runs in the driver's process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from studies.engine.core.formatting import and_more, duration
from studies.engine.core.stop import StopRequest
from studies.engine.core.trial import State
from studies.engine.execution.remaining_time import remaining_seconds
from studies.engine.storage.state_watcher import StateWatcher

REFRESH_SECONDS = 0.5
SETTLED_SECONDS = 3.0
SUMMARY_SECONDS = 60.0
"""Seconds between two lines without news, where there is no terminal."""


class Progress:
    """`labels`: folder id -> "part arm s0". Counts every trial of `watch`."""

    def __init__(
        self,
        watch: StateWatcher,
        labels: Mapping[str, str],
        stop: StopRequest,
        console: Console,
        outlives: bool = False,
        results: Callable[[str], Mapping[str, float]] = lambda name: {},
        parts: Mapping[str, str] | None = None,
        forecast: Mapping[str, float] | None = None,
    ) -> None:
        """console: bound to a stream, as a trial in this process redirects standard output. outlives: jobs continue
        after a Ctrl-C. results: the metrics of a finished trial, as the tables have them. parts, and forecast in
        seconds, by folder id: for the time that is left."""
        self.console = console
        self._watch, self._labels, self._stop = watch, labels, stop
        self._parts, self._forecast = parts or dict.fromkeys(labels, ""), forecast or {}
        self._stopping, self._jobs_outlive_driver, self._results = False, outlives, results
        self._done_before = {name for name, state in watch.poll().items() if state.status == "done"}
        self._reported = {name: state.attempt for name, state in watch.poll().items()}
        self._began, self._last_line_at = time.monotonic(), time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self._live = Live(
                console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if self._live is not None:
            self._live.stop()
        self._report_ended(self._watch.poll())

    def say(self, line: str) -> None:
        """Print a permanent line; a closed terminal does not stop the trials."""
        with suppress(OSError):
            self.console.print(escape(line), soft_wrap=True)

    def _run(self) -> None:
        while not self._end.wait(REFRESH_SECONDS):
            states = self._watch.poll()
            self._report_ended(states)
            if self._stop and not self._stopping and not (self._jobs_outlive_driver and self._stop.detach):
                self._stopping = True
                self.say("stopping  trials save and stop; Ctrl-C once more kills them")
            if self._live is not None:
                with suppress(OSError):
                    self._live.update(self._display(states), refresh=True)
            elif time.monotonic() - self._last_line_at > SUMMARY_SECONDS:
                self._last_line_at = time.monotonic()
                self.say(self._headline(states))

    def _report_ended(self, states: Mapping[str, State]) -> None:
        """Report each attempt's end once; on a terminal only failures, as the display shows the rest."""
        for name, state in states.items():
            ended = state.status == "failed" or (state.status == "done" and name not in self._done_before)
            if not ended or self._reported.get(name) == state.attempt:
                continue
            self._reported[name] = state.attempt
            self._last_line_at = time.monotonic()
            if state.status == "failed":
                self.say(f"failed    {name}  {self._labels[name]}  {state.reason}")
            elif self._live is None:
                seconds = max(state.ended, state.heartbeat) - state.started  # the result may be written before the end
                found = _most(self._results(name)) or values(state)
                self.say(f"done      {name}  {self._labels[name]}  {found}  {duration(seconds)}")

    def _headline(self, states: Mapping[str, State]) -> str:
        count = self._watch.counts()
        running, done, failed = count["running"], count["done"], count["failed"]
        left = self._eta(states)
        eta = f"   eta {duration(left)}" if left is not None else ""
        return f"running   {running}/{len(states) - done}   done {done}   failed {failed}{eta}"

    def _eta(self, states: Mapping[str, State]) -> float | None:
        """Estimate from this run's trials; nothing in the first seconds."""
        if time.monotonic() - self._began < SETTLED_SECONDS:
            return None
        ours = {name: state for name, state in states.items() if name not in self._done_before}
        return remaining_seconds(ours, self._parts, self._forecast, time.time())

    def _display(self, states: Mapping[str, State]) -> Group:
        finished = sum(1 for state in states.values() if state.status == "done")
        running = [(name, state) for name, state in states.items() if state.status == "running"]
        room = max(3, self.console.height - 6)
        bar = ProgressBar(total=max(1, len(states)), completed=finished, width=min(60, self.console.width - 12))
        top = Table.grid(padding=0)
        top.add_row(Text(" " * 10), bar)
        table, rest = running_table(running[:room], self._labels), and_more(running, room)
        return Group(Text(self._headline(states)), top, table, *([Text(f"  {rest}")] if rest else []))


def running_table(running: Sequence[tuple[str, State]], labels: Mapping[str, str]) -> Table:
    """Return a row per running trial: id, label, steps, latest values, device."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(no_wrap=True)
    for name, state in running:
        device = "" if state.device in ("", "cpu") else state.device.replace("cuda:", "gpu ")
        steps = f"{state.step}/{state.steps}" if state.steps else "starting" if not state.step else str(state.step)
        table.add_row(f"  {name}", Text(labels[name]), steps, values(state), device)
    return table


def values(state: State, most: int = 2) -> str:
    """Return the most important latest values: "top1 63.20  loss 1.043"."""
    keys = sorted(state.latest, key=lambda key: (not key.startswith("val."), key.endswith("loss"), key))
    return _most({key.rpartition(".")[2]: state.latest[key] for key in keys[:most]}, most)


def _most(found: Mapping[str, float], most: int = 2) -> str:
    return "  ".join(f"{key} {number:.4g}" for key, number in [*found.items()][:most])
