"""What the trials to run will take: measured on finished trials of the same study and scale, else forecast.

Parts are averaged separately, as their models differ. A part without a finished trial takes its forecast, corrected by
the ratio of measured to forecast time where trials have finished; without a forecast, the mean over the other parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from studies.engine.core.trial import Resources, State, Trial
from studies.engine.planning.forecast.gpus import Gpu
from studies.engine.planning.forecast.requirements import CPU_CORE_TFLOPS, RUNTIME_GB, Forecast, Requirement
from studies.engine.storage.results_dir import Store

SAMPLE = 200
"""Finished trials whose results are read."""
UNKNOWN = Requirement(None, None)


@dataclass(frozen=True)
class Estimate:
    seconds: float
    """Of all trials to run, one after another; unknown ones count as zero."""
    gpu_hours: float
    seconds_per_trial: float
    measured_on: int
    device: str
    """Of the measured trials."""
    forecast: int
    """How many of the trials to run are forecast, not measured."""
    assumptions: str
    """What the forecast assumes of the device."""
    unknown: int
    """Trials whose time is neither measured nor forecast."""
    memory_gb: float | None
    """The most that one process of a trial takes; None where nothing is known."""
    memory_of: str
    """The arm that takes it."""
    memory_available: float | None
    """GB of the GPU, or of the trial's machine; None where that is not given."""
    violations: tuple[str, ...]
    """Arms that do not fit their resources, with the reason."""
    unprofiled: int
    """Models without cost data."""
    failures: tuple[str, ...]
    """Why `--count` could not profile some of them."""
    seconds_of: Mapping[str, float]
    """By folder id, of the trials whose time is known."""


class Measured(NamedTuple):
    """What a finished trial took; the memory only where it was on the kind of device that the plan is for."""

    trial: Trial
    seconds: float
    memory_gb: float | None


def estimate(
    to_run: Sequence[Trial],
    done: Sequence[Trial],
    states: Mapping[str, State],
    store: Store,
    forecast: Forecast | None,
) -> Estimate | None:
    """Return the estimate; None: nothing to run, or nothing known. All trials of a study have the same resources."""
    if not to_run:
        return None
    resources = to_run[0].resources
    measured = _measured(done, store, resources.gpus > 0)
    forecasts = forecast.requirements if forecast else {}
    needs = _requirements(to_run, measured, forecasts)
    known = {name: need.seconds for name, need in needs.items() if need.seconds is not None}
    gpus = {trial.folder_id: trial.resources.gpus * trial.resources.nodes for trial in to_run}
    largest = max(to_run, key=lambda t: needs[t.folder_id].memory_gb or 0)
    if not known and not needs[largest.folder_id].memory_gb and not (forecast and forecast.unprofiled):
        return None
    gpu = forecast.gpu if forecast else None
    assumed = gpu.source if gpu and resources.gpus else f"{1e3 * CPU_CORE_TFLOPS:g} GFLOP/s a core assumed"
    parts = {m.trial.arm.part for m in measured}
    return Estimate(
        seconds=sum(known.values()),
        gpu_hours=sum(seconds * gpus[name] for name, seconds in known.items()) / 3600,
        seconds_per_trial=fmean(known.values()) if known else 0.0,
        measured_on=len(measured),
        device=next((d for m in reversed(measured) if (d := states.get(m.trial.folder_id, State()).device)), ""),
        forecast=sum(t.arm.part not in parts and t.folder_id in forecasts for t in to_run),
        assumptions=assumed if gpu else "",
        unknown=len(needs) - len(known),
        memory_gb=needs[largest.folder_id].memory_gb,
        memory_of=f"{largest.arm.part} {largest.arm.label}",
        memory_available=_memory_available(resources, gpu),
        violations=tuple(_violations(to_run, needs, gpu)) if gpu else (),
        unprofiled=len(forecast.unprofiled) if forecast else 0,
        failures=tuple(f"{key}: {why}" for key, why in forecast.failures.items()) if forecast else (),
        seconds_of=known,
    )


def _measured(done: Sequence[Trial], store: Store, on_gpu: bool) -> list[Measured]:
    found = []
    for trial in done[:: max(1, len(done) // SAMPLE)]:
        cost = (store.trial(trial.folder_id).result() or {}).get("cost", {})
        if isinstance(cost, dict) and isinstance(cost.get("seconds"), int | float):
            peak, same_device = cost.get("peak_memory_mb"), bool(cost.get("gpu_seconds")) == on_gpu
            memory = peak * 2**20 / 1e9 + RUNTIME_GB * on_gpu if same_device and isinstance(peak, int | float) else None
            found.append(Measured(trial, float(cost["seconds"]), memory))
    return found


def _requirements(
    to_run: Sequence[Trial], measured: Sequence[Measured], forecasts: Mapping[str, Requirement]
) -> dict[str, Requirement]:
    """Return what each trial takes, by folder id."""
    parts: dict[str, list[Measured]] = {}
    for one in measured:
        parts.setdefault(one.trial.arm.part, []).append(one)
    means = {part: fmean(m.seconds for m in found) for part, found in parts.items()}
    peaks = {part: [m.memory_gb for m in found if m.memory_gb is not None] for part, found in parts.items()}
    mean = fmean(m.seconds for m in measured) if measured else None
    pairs = [(m.seconds, e) for m in measured if (e := forecasts.get(m.trial.folder_id, UNKNOWN).seconds)]
    correction = sum(took for took, _ in pairs) / sum(expected for _, expected in pairs) if pairs else 1.0
    needs = {}
    for trial in to_run:
        expected, part = forecasts.get(trial.folder_id, UNKNOWN), trial.arm.part
        corrected = mean if expected.seconds is None else expected.seconds * correction
        memory = max(peaks.get(part, ()), default=expected.memory_gb)
        needs[trial.folder_id] = Requirement(means.get(part, corrected), memory)
    return needs


def _memory_available(resources: Resources, gpu: Gpu | None) -> float | None:
    if resources.gpus:
        return None if gpu is None else gpu.memory_gb * min(1.0, resources.gpus)
    return resources.memory_gb


def _violations(trials: Sequence[Trial], needs: Mapping[str, Requirement], gpu: Gpu) -> Iterator[str]:
    """Yield a line for every way in which an arm does not fit its resources."""
    resources, available = trials[0].resources, _memory_available(trials[0].resources, gpu)
    for arm, need in {f"{t.arm.part} {t.arm.label}": needs[t.folder_id] for t in trials}.items():
        memory = need.memory_gb and need.memory_gb * (1 if resources.gpus else resources.per_node)
        if memory is not None and available is not None and memory > available:
            share = f"{resources.gpus:g} of {gpu.name}" if resources.gpus < 1 else gpu.name
            limit = f"{share} has" if resources.gpus else "resources.memory_gb is"
            yield f"{arm}: about {memory:.1f} GB, {limit} {available:g}{' GB' if resources.gpus else ''}"
        if resources.minutes is not None and need.seconds is not None and need.seconds > 60 * resources.minutes:
            yield f"{arm}: about {need.seconds / 60:.0f} minutes, resources.minutes is {resources.minutes:g}"
