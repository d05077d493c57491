"""Run a bundle's trials again and hold the new numbers against the old ones."""

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
from studies.engine.storage.results_dir import Store

CLOCKED = ("second", "memory", "latency", "speed", "throughput", "time")
"""What a metric's name has in it that depends on the machine and the moment: shown, never compared."""

Verdict = Literal["equal", "close", "differs", "missing", "clocked"]


@dataclass(frozen=True)
class Number:
    """One metric of a trial in the bundle and here."""

    name: str
    then: float
    now: float | None
    verdict: Verdict

    @property
    def apart(self) -> float:
        """Relative to the larger of the two."""
        if self.now is None or math.isnan(self.then) or math.isnan(self.now):
            return math.nan
        return abs(self.then - self.now) / (max(abs(self.then), abs(self.now)) or 1.0)


@dataclass(frozen=True)
class Repeated:
    """A trial that was run again; `reason` where it did not come to an end."""

    trial: str
    numbers: tuple[Number, ...] = ()
    reason: str = ""

    def count(self, verdict: Verdict) -> int:
        return sum(number.verdict == verdict for number in self.numbers)

    @property
    def agrees(self) -> bool:
        return not self.reason and not any(n.verdict in ("differs", "missing") for n in self.numbers)


def sample(bundle: Bundle, count: int, pick: int) -> list[str]:
    """So many of the bundle's trials by lot, in the plan's order; the same `pick` draws the same ones."""
    found = bundle.trials()
    drawn = set(random.Random(pick).sample(found, min(count, len(found))))
    return [trial for trial in found if trial in drawn]


@dataclass(frozen=True)
class How:
    """On what, with how many threads, and with whose code a trial is run again; what still agrees."""

    device: str = "cpu"
    cpus: int = 1
    own_code: bool = False
    tolerance: float = 0.0


def repeat(bundle: Bundle, trial: str, results: Path, how: How) -> Repeated:
    """Run the trial in a process of its own and compare."""
    folder = Store(results).trial(trial)
    folder.create(bundle.spec(trial) or {})
    code = (None if how.own_code else bundle.code(trial)) or root()
    given = {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}  # safe: else the current folder's code would come first
    given |= {"OMP_NUM_THREADS": str(how.cpus), "MKL_NUM_THREADS": str(how.cpus)}  # sums depend on it
    given |= {"CUDA_VISIBLE_DEVICES": ""} if how.device == "cpu" else {}
    subprocess.run(
        [sys.executable, "-m", "studies.engine.worker", "--device", how.device, str(folder.path)],
        env={**os.environ, **given}, cwd=results, capture_output=True, check=False,
    )  # fmt: skip
    result = folder.result()
    if result is None:
        state = folder.state()
        return Repeated(trial, reason=f"{state.status}: {state.reason or 'its process ended without a word'}")
    return Repeated(trial, compare(bundle.result(trial) or {}, result, how.tolerance))


def compare(then: Mapping[str, Any], now: Mapping[str, Any], tolerance: float) -> tuple[Number, ...]:
    """Every number of the metrics, and parameters and multiply-accumulates of the cost."""
    new = dict(_numbers(now.get("metrics") or {}))
    old = dict(_numbers(then.get("metrics") or {}))
    for key in ("params", "gflops"):
        for numbers, result in ((old, then), (new, now)):
            numbers |= {f"cost.{key}": v for _, v in _numbers({key: (result.get("cost") or {}).get(key)})}
    return tuple(_number(name, value, new.get(name), tolerance) for name, value in old.items())


def _number(name: str, then: float, now: float | None, tolerance: float) -> Number:
    if any(word in name for word in CLOCKED):
        return Number(name, then, now, "clocked")
    if now is None:
        return Number(name, then, now, "missing")
    if then == now or (math.isnan(then) and math.isnan(now)):
        return Number(name, then, now, "equal")
    apart = Number(name, then, now, "differs")
    return Number(name, then, now, "close") if apart.apart <= tolerance else apart


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)
