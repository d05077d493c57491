"""Rerun trials of a bundle and compare the new numbers with the old ones."""

from __future__ import annotations

import math
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from studies.engine.jobs.worker_process import code_paths
from studies.engine.results.bundle.open import Bundle
from studies.engine.storage import kept_weights, own_snapshot
from studies.engine.storage.code_snapshot import root
from studies.engine.storage.records import is_number
from studies.engine.storage.results_dir import Store

TIMING_WORD = re.compile(
    r"(?<![a-z])(seconds?|memory|latency|speed(?:up)?|throughput|(run|wall)?times?)(?![a-z])", re.I
)
"""A word of the names of metrics that depend on the machine and its load: shown, never compared."""
TIMING_NAMES = ("share",)
"""Whole names of such metrics: the measured speed-up over the ratio of multiply-accumulates."""

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


def rerun(
    bundle: Bundle, trial: str, results: Path, options: RerunOptions, ran: dict[str, str] | None = None
) -> RerunResult:
    """Rerun a trial, after those that it starts from, and compare. With own code, only tasks of this installation run.

    ran: the trials rerun before, each with why it did not finish.
    """
    if reason := _run(bundle, trial, Store(results), options, {} if ran is None else ran):
        return RerunResult(trial, reason=reason)
    result = Store(results).trial(trial).result() or {}
    numbers = compare(bundle.result(trial) or {}, result, options.tolerance)
    compared = any(number.verdict != "timing" for number in numbers)
    return RerunResult(trial, numbers, "" if compared else "its result has no number to compare")


def _run(bundle: Bundle, trial: str, store: Store, options: RerunOptions, ran: dict[str, str]) -> str:
    """Run a trial in its own process, once; return why it has no result, empty where it has one."""
    if trial not in ran:
        ran[trial] = f"starts from itself: {trial}"  # where a bundle says so
        ran[trial] = _run_once(bundle, trial, store, options, ran)
    return ran[trial]


def _run_once(bundle: Bundle, trial: str, store: Store, options: RerunOptions, ran: dict[str, str]) -> str:
    folder, spec = store.trial(trial), bundle.spec(trial)
    if spec is None:
        return "not run: it is not in the bundle"
    task = str(spec["task"])
    if options.own_code and not task.isidentifier():
        return f"not run: its task is a file, {task}, not one of this installation"
    if (copy := own_snapshot.of_spec(spec, bundle.folder)) is not None:
        if options.own_code:
            return f"not run: it imports {', '.join(spec['imports'])}, which is code of the bundle"
        if not copy.is_dir():
            return f"not run: the bundle has no {spec['own']}, the code that it imports"
        shutil.copytree(copy, store.root / spec["own"], dirs_exist_ok=True)
    if folder.path.exists():
        return f"not run: {folder.path} is there already, give an empty --results"
    for first in sorted(bundle.firsts(trial)):
        if reason := _run(bundle, first, store, options, ran):
            return f"not run: it starts from {first}, {reason}"
    folder.create(spec)
    kept_weights.request(folder)
    code = (None if options.own_code else bundle.code(trial)) or root()
    given = code_paths(code) | {
        "OMP_NUM_THREADS": str(options.cpus),
        "MKL_NUM_THREADS": str(options.cpus),
    }  # the order of summation depends on it
    given |= {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    subprocess.run(
        [sys.executable, "-m", "studies.engine.worker", "--device", options.device, str(folder.path)],
        env={**os.environ, **given}, capture_output=True, check=False,  # here, where relative paths lead to the data
    )  # fmt: skip
    state = folder.state()
    return "" if folder.result() else f"{state.status}: {state.reason or 'process ended without writing a status'}"


def compare(then: Mapping[str, Any], now: Mapping[str, Any], tolerance: float) -> tuple[Number, ...]:
    """Compare every number of the metrics, and parameters and multiply-accumulates of the cost."""
    new = dict(_numbers(now.get("metrics") or {}))
    old = dict(_numbers(then.get("metrics") or {}))
    for key in ("params", "gflops"):
        for numbers, result in ((old, then), (new, now)):
            numbers |= {f"cost.{key}": v for _, v in _numbers({key: (result.get("cost") or {}).get(key)})}
    return tuple(_number(name, value, new.get(name), tolerance) for name, value in old.items())


def _number(name: str, then: float, now: float | None, tolerance: float) -> Number:
    if name in TIMING_NAMES or TIMING_WORD.search(name):
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
