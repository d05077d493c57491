"""Rerun trials of a bundle and compare the new numbers with the old ones."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from studies.engine.results.bundle.open import Bundle
from studies.engine.storage.code_snapshot import root
from studies.engine.storage.records import is_number
from studies.engine.storage.results_dir import Store

TIMING_WORDS = ("second", "memory", "latency", "speed", "throughput", "time")
"""Parts of the names of metrics that depend on the machine and its load: shown, never compared."""

Verdict = Literal["equal", "close", "differs", "missing", "timing"]


@dataclass(frozen=True)
class Number:
    """One metric of a trial in the bundle and here."""

    name: str
    then: float
    now: float | None
    verdict: Verdict

    @property
    def relative_difference(self) -> float:
        """Difference relative to the larger of the two."""
        if self.now is None or math.isnan(self.then) or math.isnan(self.now):
            return math.nan
        return abs(self.then - self.now) / (max(abs(self.then), abs(self.now)) or 1.0)


@dataclass(frozen=True)
class RerunResult:
    """A trial that was rerun; `reason` if it did not finish."""

    trial: str
    numbers: tuple[Number, ...] = ()
    reason: str = ""

    def count(self, verdict: Verdict) -> int:
        return sum(number.verdict == verdict for number in self.numbers)

    @property
    def agrees(self) -> bool:
        return not self.reason and not any(n.verdict in ("differs", "missing") for n in self.numbers)


def sample(bundle: Bundle, count: int, seed: int) -> list[str]:
    """Draw `count` random trials of the bundle, in the plan's order; `seed` determines which."""
    found = bundle.trials
    drawn = set(random.Random(seed).sample(found, min(count, len(found))))
    return [trial for trial in found if trial in drawn]


@dataclass(frozen=True)
class RerunOptions:
    """Device, threads and code of a rerun, and the tolerance of the comparison."""

    device: str = "cpu"
    cpus: int = 1
    own_code: bool = False
    tolerance: float = 0.0
    """Relative difference that still counts as agreement."""


def rerun(bundle: Bundle, trial: str, results: Path, options: RerunOptions) -> RerunResult:
    """Rerun a trial in its own process and compare. With own code, only tasks of this installation are run."""
    folder, spec = Store(results).trial(trial), bundle.spec(trial) or {}
    task = str(spec["task"])
    if options.own_code and not task.isidentifier():
        return RerunResult(trial, reason=f"not run: its task is a file, {task}, not one of this installation")
    if folder.path.exists():
        return RerunResult(trial, reason=f"not run: {folder.path} is there already, give an empty --results")
    folder.create(spec)
    code = (None if options.own_code else bundle.code(trial)) or root()
    given = {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}  # otherwise the current folder's code would come first
    given |= {
        "OMP_NUM_THREADS": str(options.cpus),
        "MKL_NUM_THREADS": str(options.cpus),
    }  # the order of summation depends on it
    given |= {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    subprocess.run(
        [sys.executable, "-m", "studies.engine.worker", "--device", options.device, str(folder.path)],
        env={**os.environ, **given}, cwd=results, capture_output=True, check=False,
    )  # fmt: skip
    result = folder.result()
    if result is None:
        state = folder.state()
        return RerunResult(trial, reason=f"{state.status}: {state.reason or 'process ended without writing a status'}")
    numbers = compare(bundle.result(trial) or {}, result, options.tolerance)
    compared = any(number.verdict != "timing" for number in numbers)
    return RerunResult(trial, numbers, "" if compared else "its result has no number to compare")


def compare(then: Mapping[str, Any], now: Mapping[str, Any], tolerance: float) -> tuple[Number, ...]:
    """Compare every number of the metrics, and parameters and multiply-accumulates of the cost."""
    new = dict(_numbers(now.get("metrics") or {}))
    old = dict(_numbers(then.get("metrics") or {}))
    for key in ("params", "gflops"):
        for numbers, result in ((old, then), (new, now)):
            numbers |= {f"cost.{key}": v for _, v in _numbers({key: (result.get("cost") or {}).get(key)})}
    return tuple(_number(name, value, new.get(name), tolerance) for name, value in old.items())


def _number(name: str, then: float, now: float | None, tolerance: float) -> Number:
    if any(word in name for word in TIMING_WORDS):
        return Number(name, then, now, "timing")
    if now is None:
        return Number(name, then, now, "missing")
    if then == now or (math.isnan(then) and math.isnan(now)):
        return Number(name, then, now, "equal")
    number = Number(name, then, now, "differs")
    return Number(name, then, now, "close") if number.relative_difference <= tolerance else number


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif is_number(value):
            yield f"{prefix}{key}", float(value)
