"""The engine's implementation of `dynvit.context.Context`. Standard library only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.files import write_atomic
from studies.engine.core.stop import StopRequest
from studies.engine.runtime.distributed.leader import RankServer
from studies.engine.storage.checkpoint import Checkpoint
from studies.engine.storage.trial_folder import TrialFolder, parse_event

CHECKPOINT_SECONDS = 60 * float(os.environ.get("DYNVIT_CHECKPOINT_MINUTES", "1"))
MAX_SHOWN_METRICS = 6  # metrics kept in the state for the progress display


class LeaseLost(BaseException):
    """Another worker holds the folder: write nothing more. A BaseException, so that no task swallows it."""


class TrialContext:
    """One attempt at one trial."""

    def __init__(
        self,
        folder: TrialFolder,
        attempt: int,
        seed: int,
        device: str,
        stop: StopRequest,
        ranks: RankServer | None = None,
    ) -> None:
        self.seed, self.device, self.folder = seed, device, folder.path
        self.rank, self.world, self.address = 0, ranks.world if ranks else 1, ranks.address if ranks else ""
        self._ranks = ranks
        self.step, self.steps = 0, None  # type: int, int | None
        self.latest: dict[str, float] = {}
        self.lease_lost = False
        self.time_limit_reason = ""
        """Set where the attempt has exceeded its time limit."""
        self._stop = stop
        self._checkpoint = Checkpoint(folder)
        self._saved, self._cost = time.monotonic(), 0.0
        self._found = self._checkpoint.find(self.log_text)
        self._logged_keys: dict[int, set[str]] = {}
        if self._found is None:
            _archive_events(folder, attempt)
        else:
            self._logged_keys = _continue_events(folder, self.log_text)
            self.step = max(self._logged_keys, default=0)
        self._trial, self._attempt, self._logged = folder, attempt, False
        self._events = self._open()

    @property
    def should_stop(self) -> bool:
        return bool(self.broadcast(self.stop_requested))

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value in every process that trains this trial; all call it in the same order."""
        self._check()
        if self._ranks is not None:
            self._ranks.share(value)
        return value

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        """Append one line; values that an earlier attempt wrote for the step are kept."""
        self._check()
        if not self._logged and step < self._checkpoint.step:
            self._discard_curve()
        self._logged = True
        values = {key: float(value) for key, value in metrics.items()}
        self.step, self.steps = step, steps if steps is not None else self.steps
        self.latest = _progress_metrics({**self.latest, **values})
        written = self._logged_keys.get(step, set())
        fresh = {key: value for key, value in values.items() if key not in written}
        if fresh:
            line = json.dumps({"t": round(time.time(), 3), "step": step, "m": fresh}).encode() + b"\n"
            if os.write(self._events, line) != len(line):
                raise OSError(f"events.jsonl took only part of a line (is the disk full?): {self.folder}")

    def checkpoint_due(self) -> bool:
        """Return True every CHECKPOINT_SECONDS (saving takes at most 2 % of the time), and when stopping."""
        late = time.monotonic() - self._saved >= max(CHECKPOINT_SECONDS, 50 * self._cost)
        return bool(self.broadcast(self.stop_requested or late))

    def save(self, write: Callable[[Path], None]) -> None:
        self._check()
        began = time.monotonic()
        os.fsync(self._events)  # the curve must reach at least as far as the checkpoint
        self._checkpoint.save(write, self.step)
        self._saved = time.monotonic()
        self._cost = self._saved - began if CHECKPOINT_SECONDS else 0.0

    def save_artifact(self, name: str, data: bytes) -> None:
        self._check()
        write_atomic(self.folder / name, data)

    def load(self) -> Path | None:
        return self._found

    def log_text(self, text: str) -> None:
        print(time.strftime("[%H:%M:%S]"), text, flush=True)

    def close(self, remove_checkpoint: bool = False) -> None:
        os.close(self._events)
        if remove_checkpoint:
            self._checkpoint.remove()

    def _open(self) -> int:
        return os.open(self._trial.events_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def _discard_curve(self) -> None:
        """Archive the curve of an earlier attempt, as the task did not use its checkpoint."""
        os.close(self._events)
        _archive_events(self._trial, self._attempt)
        self._events, self._logged_keys, self.latest = self._open(), {}, {}

    @property
    def stop_requested(self) -> bool:
        """Whether this process was asked to stop; other ranks may not know yet."""
        return bool(self._stop) or bool(self.time_limit_reason)

    def _check(self) -> None:
        if self.lease_lost:
            raise LeaseLost


def _progress_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Return a few values for the progress display: validation, then training, per-layer values last."""
    order = sorted(metrics, key=lambda key: (not key.startswith("val."), not key.startswith("train."), "layer" in key))
    return {key: metrics[key] for key in order[:MAX_SHOWN_METRICS]}


def _archive_events(folder: TrialFolder, attempt: int) -> None:
    """Move the previous attempt's curve to its folder, as an attempt without a checkpoint starts from the beginning."""
    if attempt > 0 and folder.events_file.exists():
        aside = folder.attempt_folder(attempt - 1)
        aside.mkdir(parents=True, exist_ok=True)
        os.replace(folder.events_file, aside / "events.jsonl")
    else:
        folder.events_file.unlink(missing_ok=True)


def _continue_events(folder: TrialFolder, say: Callable[[str], None]) -> dict[int, set[str]]:
    """Truncate an unfinished last line; return the keys logged at each step."""
    logged: dict[int, set[str]] = {}
    damaged = 0
    try:
        with open(folder.events_file, "rb+") as f:
            end = 0
            for line in f:
                event = parse_event(line)
                if event is not None:
                    logged.setdefault(event.step, set()).update(event.metrics)
                elif line.endswith(b"\n"):
                    damaged += 1
                end += len(line) if line.endswith(b"\n") else 0
            if end != f.seek(0, os.SEEK_END):
                f.truncate(end)
                say("events.jsonl ended in the middle of a line, which was removed")
    except FileNotFoundError:
        say("events.jsonl is missing: the curve starts at the checkpoint")
    if damaged:
        say(f"events.jsonl has {damaged} damaged lines, which are skipped")
    return logged
