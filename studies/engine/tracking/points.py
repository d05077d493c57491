"""Metric values as MLflow keeps them: the curves and final values of a trial, an arm's means over its seeds.

Final values and means are at step 0: MLflow draws bars of them, and lines of what has further steps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple, TypeGuard

from studies.engine.results.readings import Reading, value
from studies.engine.storage.events import Event
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.samples import Sample
from studies.engine.tracking.names import digest, milliseconds, sanitize

MIN_SEEDS_FOR_INTERVAL = 3
COST = "gflops"
"""Giga multiply-accumulates, under this name in every result: an arm's has a mean even if the study does not ask."""

SYSTEM = "system/"
"""Begins the names of what MLflow shows on its page "System metrics"."""


class Point(NamedTuple):
    """One row of a metric's history, with MLflow's order of fields."""

    key: str
    value: float
    time: int
    """Milliseconds."""
    step: int


def points_of(events: Sequence[Event]) -> list[Point]:
    return [Point(sanitize(k), v, milliseconds(e.time), e.step) for e in events for k, v in e.metrics.items()]


def system_points(samples: Iterable[Sample], start: int) -> list[Point]:
    """Return what trials took of their machines, where MLflow's page "System metrics" looks for it.

    start: milliseconds, of the run; samples from before belong to a training that was started over. Steps are seconds.
    """
    times = [(sample, milliseconds(sample.time)) for sample in samples]
    return [
        Point(f"{SYSTEM}{name}", value, time, (time - start) // 1000)
        for sample, time in times
        if time >= start
        for name, value in sample.values.items()
    ]


def has_samples(names: Iterable[str]) -> bool:
    return any(name.startswith(SYSTEM) for name in names)


def final_points(plan: PlanFile, got: Reading, last_step: int) -> list[Point]:
    """Return what a finished trial reached and cost, under plain names: ``top1``, ``gflops``, ``seconds``.

    Where a curve has the name, its last step gets the value, unless the curve ends with it: MLflow lists the latest.
    got: with the last value of every curve. last_step: of all curves.
    """
    if got.status != "done":
        return []
    found, at = final_values(plan, got), milliseconds(got.state.ended)
    return [
        Point(sanitize(name), final, at, last_step if name in got.latest else 0)
        for name, final in found.items()
        if got.latest.get(name) != final
    ]


def final_values(plan: PlanFile, got: Reading) -> dict[str, float]:
    """Return the study's metrics as its tables have them, the task's others (the best epoch's), and the cost."""
    metrics, cost = got.result.get("metrics") or {}, got.result.get("cost") or {}
    gpu = cost.get("gpu_seconds")
    found = {key: cost.get(key) for key in ("seconds", "peak_memory_mb", "params", "gflops")}
    found |= {"gpu_hours": gpu / 3600 if _is_number(gpu) and gpu else None}
    found |= metrics.get("best") or {}
    found |= metrics
    found |= {name: value(name, metric, got) for name, metric in plan.metrics.items()}
    if "params_m" in found:
        del found["params"]
    return {name: float(v) for name, v in found.items() if _is_number(v)}


def arm_points(plan: PlanFile, readings: Iterable[Reading]) -> list[Point]:
    """Return mean, n and t interval of an arm's metrics, and of its cost, after each finished seed, in order of time.

    readings: of this arm's trials.
    """
    finished = [got for got in readings if got.status == "done"]
    finished.sort(key=lambda got: (got.state.ended, got.folder))
    values: dict[str, list[float]] = {}
    points, time = [], 0
    for got in finished:
        time = max(milliseconds(got.state.ended), time + 1)  # of two values at one time MLflow shows the larger
        finals = final_values(plan, got)
        for name in dict.fromkeys((*plan.metrics, COST)):
            if name in finals:
                seeds = values.setdefault(name, [])
                seeds.append(finals[name])
                points += [Point(f"{sanitize(name)}.{what}", v, time, 0) for what, v in summary(seeds)]
    return points


def summary(values: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield mean and n; from three values on, where they differ, also the 95 % Student t interval."""
    yield "mean", fmean(values)
    yield "n", float(len(values))
    if len(set(values)) > 1 and len(values) >= MIN_SEEDS_FOR_INTERVAL and all(map(math.isfinite, values)):
        from scipy.special import stdtrit

        half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
        yield "ci_low", fmean(values) - half
        yield "ci_high", fmean(values) + half


def history(points: Sequence[Point]) -> str:
    """Return the number of points and their digest."""
    return f"{len(points)} {digest(points)}"


def is_prefix(known: str, points: Sequence[Point]) -> bool:
    """Whether the points go on from an earlier `history`."""
    return known == history(points[: int(known.split()[0])])


def agree(known: Mapping[str, float], points: Sequence[Point]) -> bool:
    """Whether MLflow's latest values are none other than these."""
    return all(point.key not in known or _same(known[point.key], point.value) for point in points)


def _same(stored: float, value: float) -> bool:
    if math.isinf(value):
        value = math.copysign(sys.float_info.max, value)  # as MLflow keeps it
    return stored == value or (math.isnan(stored) and math.isnan(value))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
