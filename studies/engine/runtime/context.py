"""The engine's implementation of `dynvit.context.Context`. Standard library only."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.files import lines
from studies.engine.core.secrets import hide_secrets
from studies.engine.core.settings import number
from studies.engine.core.stop import StopRequest
from studies.engine.runtime.distributed.leader import RankServer
from studies.engine.storage.checkpoint import Checkpoint
from studies.engine.storage.events import Event, current_events, format_event, parse_event
from studies.engine.storage.fence import Fence
from studies.engine.storage.records import is_whole

CHECKPOINT_SECONDS = 60 * number("DYNVIT_CHECKPOINT_MINUTES", 1)
MAX_SHOWN_METRICS = 6  # metrics kept in the state for the progress display


class TrialContext:
    """One attempt at one trial."""

    def __init__(
        self, fence: Fence, seed: int, device: str, stop: StopRequest, ranks: RankServer | None = None
    ) -> None:
        self._fence, self._trial = fence, fence.folder
        self.seed, self.device, self.folder = seed, device, self._trial.path
        self.rank, self.world, self.address = 0, ranks.world if ranks else 1, ranks.address if ranks else ""
        self._ranks = ranks
        self.step, self.steps = 0, None  # type: int, int | None
        self.latest: dict[str, float] = {}
        self.time_limit_reason = ""
        """Set where the attempt has exceeded its time limit."""
        self._stop, self._logged = stop, False
        fence.verify()
        self._checkpoint = Checkpoint(self._trial)
        self._began = self._saved = time.monotonic()
        self._cost = 0.0
        self._found = self._checkpoint.find(self.log_text)
        self._logged_keys: dict[int, set[str]] = {}
        if self._found is None:
            _archive_events(fence)
        else:
            self._logged_keys = _continue_events(fence, self.log_text)
            self.step = max(self._logged_keys, default=0)
        self._events = self._open()

    @property
    def seconds(self) -> float:
        """The time spent on the trial: this attempt's, and what went into the checkpoint that it continues."""
        return time.monotonic() - self._began + self._checkpoint.seconds

    @property
    def should_stop(self) -> bool:
        return bool(self.broadcast(self.stop_requested))

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value in every process that trains this trial; all call it in the same order."""
        self._fence.check()
        if self._ranks is not None:
            self._ranks.share(value)
        return value

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        """Append one line; values that an earlier attempt wrote for the step are kept.

        Raises:
            TypeError, ValueError: step or steps is no whole number below 2^53, a name no text, or a value no number.
        """
        self._fence.check()
        step, steps = _whole("step", step), None if steps is None else _whole("steps", steps)
        if not self._logged and step < self._checkpoint.step:
            self._discard_curve()
        self._logged = True
        values = {key: float(value) for key, value in metrics.items()}
        "".join(values).encode()  # raises for what is no text
        self.step, self.steps = step, steps if steps is not None else self.steps
        self.latest = _progress_metrics({**self.latest, **values})
        written = self._logged_keys.get(step, set())
        fresh = {key: value for key, value in values.items() if key not in written}
        if fresh:
            line = format_event(Event(time.time(), step, fresh, self._fence.attempt))
            if os.write(self._events, line) != len(line):
                raise OSError(f"events.jsonl took only part of a line (is the disk full?): {self.folder}")

    def checkpoint_due(self) -> bool:
        """Return True every CHECKPOINT_SECONDS (saving takes at most 2 % of the time), and when stopping."""
        late = time.monotonic() - self._saved >= max(CHECKPOINT_SECONDS, 50 * self._cost)
        return bool(self.broadcast(self.stop_requested or late))

    def save(self, write: Callable[[Path], None]) -> None:
        self._fence.check()
        began = time.monotonic()
        os.fsync(self._events)  # the curve must reach at least as far as the checkpoint
        self._checkpoint.save(write, self.step, self._fence.attempt, self._fence.verify, self.seconds)
        self._saved = time.monotonic()
        self._cost = self._saved - began if CHECKPOINT_SECONDS else 0.0

    def save_artifact(self, name: str, data: bytes) -> None:
        if not name or name != Path(name).name or name == "..":
            raise ValueError(f"{name!r} is no plain file name: artifacts are in the trial's folder")
        self._fence.write(self.folder / name, data)

    def load(self) -> Path | None:
        return self._found

    def log_text(self, text: str) -> None:
        print(time.strftime("[%H:%M:%S]"), hide_secrets(text), flush=True)

    def close(self, remove_checkpoint: bool = False) -> None:
        os.close(self._events)
        if remove_checkpoint:
            self._checkpoint.remove()

    def _open(self) -> int:
        return os.open(self._trial.events_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def _discard_curve(self) -> None:
        """Archive the curve of an earlier attempt, as the task did not use its checkpoint."""
        os.close(self._events)
        self._checkpoint.seconds = 0.0
        _archive_events(self._fence)
        self._events, self._logged_keys, self.latest = self._open(), {}, {}

    @property
    def stop_requested(self) -> bool:
        """Whether this process was asked to stop; other ranks may not know yet."""
        return bool(self._stop) or bool(self.time_limit_reason) or self._fence.lost


def _whole(name: str, value: int) -> int:
    """Return it as the files hold it: numpy's integers become Python's."""
    whole = operator.index(value)
    if not is_whole(whole):
        raise ValueError(f"{name} {value} is not between -2^53 and 2^53")
    return whole


def _progress_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Return a few values for the progress display: validation, then training, per-layer values last."""
    order = sorted(metrics, key=lambda key: (not key.startswith("val."), not key.startswith("train."), "layer" in key))
    return {key: metrics[key] for key in order[:MAX_SHOWN_METRICS]}


def _archive_events(fence: Fence) -> None:
    """Move the previous attempt's curve to its folder, as an attempt without a checkpoint starts from the beginning."""
    fence.verify()
    fence.folder.move_to_attempt(max(fence.attempt - 1, 0), fence.folder.events_file)


def _continue_events(fence: Fence, say: Callable[[str], None]) -> dict[int, set[str]]:
    """Copy the curve without an unfinished last line; return the keys logged at each step.

    A copy, as a suspended worker may still have the old file open and write to it.
    """
    file = fence.folder.events_file
    logged: dict[int, set[str]] = {}
    whole = list(lines(file))
    if not whole:
        say("events.jsonl is missing: the curve starts at the checkpoint")
    elif not whole[-1].endswith(b"\n"):
        whole.pop()
        say("events.jsonl ended in the middle of a line, which was removed")
    for event in current_events(whole):
        logged.setdefault(event.step, set()).update(event.metrics)
    if damaged := sum(parse_event(line) is None for line in whole):
        say(f"events.jsonl has {damaged} damaged lines, which are skipped")
    fence.write(file, b"".join(whole))
    return logged
