"""What the trials to run will take: measured on finished trials of the same study and scale, else forecast.

Parts are averaged separately, as their models differ. A part without a finished trial takes its forecast, corrected by
the ratio of measured to forecast time where trials have finished; without a forecast, the mean over the other parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from studies.engine.core.trial import Resources, State, Trial
from studies.engine.planning.forecast.assumptions import CPU_CORE_TFLOPS, RUNTIME_GB
from studies.engine.planning.forecast.gpus import Gpu
from studies.engine.planning.forecast.requirements import Forecast, Requirement
from studies.engine.storage.results_dir import Store

SAMPLE = 200
"""Finished trials whose results are read."""


@dataclass(frozen=True)
class Estimate:
    seconds: float
    """Of all trials to run, one after another; unknown ones count as zero."""
    gpu_hours: float
    seconds_per_trial: float
    measured_on: int
    device: str
    """Of the measured trials."""
    forecast: int = 0
    """How many of the trials to run are forecast, not measured."""
    assumptions: str = ""
    """What the forecast assumes of the device."""
    unknown: int = 0
    """Trials whose time is neither measured nor forecast."""
    memory_gb: float | None = None
    """The most that one process of a trial takes; None where nothing is known."""
    memory_of: str = ""
    """The arm that takes it."""
    memory_available: float | None = None
    """GB of the GPU, or of the trial's machine; None where that is not given."""
    violations: tuple[str, ...] = ()
    """Arms that do not fit their resources, with the reason."""
    unprofiled: int = 0
    """Models without cost data."""
    failures: tuple[str, ...] = ()
    """Why `--count` could not profile some of them."""


@dataclass(frozen=True)
class Measured:
    part: str
    seconds: float
    memory_gb: float | None
    on_gpu: bool
    folder: str


def estimate(
    to_run: Sequence[Trial],
    done: Sequence[Trial],
    states: Mapping[str, State],
    store: Store,
    forecast: Forecast | None,
) -> Estimate | None:
    """Return the estimate; None: nothing to run, or nothing known."""
    measured = _measured(done, store)
    if not to_run or (not measured and forecast is None):
        return None
    required = forecast.requirements if forecast else {}
    seconds = _seconds(to_run, measured, required)
    memory = {trial.folder_id: _memory(trial, measured, required) for trial in to_run}
    known = [s for s in seconds.values() if s is not None]
    if not known and not any(memory.values()) and not (forecast and forecast.unprofiled):
        return None
    parts = {m.part for m in measured}
    largest = max(to_run, key=lambda t: memory[t.folder_id] or 0)
    gpu = forecast.gpu if forecast else None
    speed = gpu.source if gpu and to_run[0].resources.gpus else f"{1e3 * CPU_CORE_TFLOPS:g} GFLOP/s a core assumed"
    return Estimate(
        seconds=sum(known),
        gpu_hours=sum((seconds[t.folder_id] or 0) * t.resources.gpus * t.resources.nodes for t in to_run) / 3600,
        seconds_per_trial=fmean(known) if known else 0.0,
        measured_on=len(measured),
        device=next((s.device for m in reversed(measured) if (s := states.get(m.folder)) and s.device), ""),
        forecast=sum(t.arm.part not in parts and t.folder_id in required for t in to_run),
        assumptions=speed if gpu else "",
        unknown=sum(s is None for s in seconds.values()),
        memory_gb=memory[largest.folder_id],
        memory_of=f"{largest.arm.part} {largest.arm.label}",
        memory_available=_memory_available(largest.resources, gpu),
        violations=tuple(_violations(to_run, seconds, memory, gpu)) if gpu else (),
        unprofiled=len(forecast.unprofiled) if forecast else 0,
        failures=tuple(f"{key}: {why}" for key, why in forecast.failures.items()) if forecast else (),
    )


def _measured(done: Sequence[Trial], store: Store) -> list[Measured]:
    found = []
    for trial in done[:: max(1, len(done) // SAMPLE)]:
        cost = (store.trial(trial.folder_id).result() or {}).get("cost", {})
        if isinstance(cost, dict) and isinstance(cost.get("seconds"), int | float):
            peak, on_gpu = cost.get("peak_memory_mb"), bool(cost.get("gpu_seconds"))
            memory = peak * 2**20 / 1e9 + (RUNTIME_GB if on_gpu else 0) if isinstance(peak, int | float) else None
            found.append(Measured(trial.arm.part, float(cost["seconds"]), memory, on_gpu, trial.folder_id))
    return found


def _seconds(
    to_run: Sequence[Trial], measured: Sequence[Measured], required: Mapping[str, Requirement]
) -> dict[str, float | None]:
    by_part: dict[str, list[float]] = {}
    for m in measured:
        by_part.setdefault(m.part, []).append(m.seconds)
    means = {part: fmean(seconds) for part, seconds in by_part.items()}
    mean = fmean(m.seconds for m in measured) if measured else None
    pairs = [(m.seconds, r.seconds) for m in measured if (r := required.get(m.folder)) is not None and r.seconds]
    correction = sum(a for a, _ in pairs) / sum(b for _, b in pairs) if pairs else 1.0

    def seconds(trial: Trial) -> float | None:
        if trial.arm.part in means:
            return means[trial.arm.part]
        one = required.get(trial.folder_id)
        return one.seconds * correction if one is not None and one.seconds is not None else mean

    return {trial.folder_id: seconds(trial) for trial in to_run}


def _memory(trial: Trial, measured: Sequence[Measured], required: Mapping[str, Requirement]) -> float | None:
    """Measured in the same part on the same kind of device, else forecast."""
    on_gpu = trial.resources.gpus > 0
    seen = [m.memory_gb for m in measured if (m.part, m.on_gpu) == (trial.arm.part, on_gpu) and m.memory_gb is not None]
    one = required.get(trial.folder_id)
    return max(seen) if seen else (None if one is None else one.memory_gb)


def _memory_available(resources: Resources, gpu: Gpu | None) -> float | None:
    if resources.gpus:
        return None if gpu is None else gpu.memory_gb * min(1.0, resources.gpus)
    return resources.memory_gb


def _violations(
    trials: Sequence[Trial], seconds: Mapping[str, float | None], memory: Mapping[str, float | None], gpu: Gpu
) -> Iterator[str]:
    """Yield a line for every way in which an arm does not fit its resources."""
    first: dict[tuple[str, str], Trial] = {}
    for trial in trials:
        first.setdefault((trial.arm.part, trial.arm.label), trial)
    for trial in first.values():
        for line in resource_violations(trial.resources, seconds[trial.folder_id], memory[trial.folder_id], gpu):
            yield f"{trial.arm.part} {trial.arm.label}: {line}"


def resource_violations(resources: Resources, seconds: float | None, memory: float | None, gpu: Gpu) -> Iterator[str]:
    available = _memory_available(resources, gpu)
    if memory is not None and available is not None:
        needed = memory if resources.gpus else memory * resources.per_node
        share = f"{resources.gpus:g} of {gpu.with_article}" if resources.gpus < 1 else gpu.with_article
        limit = f"{share} has {available:g} GB" if resources.gpus else f"resources.memory_gb is {available:g}"
        if needed > available:
            yield f"about {needed:.1f} GB, {limit}"
    if resources.minutes is not None and seconds is not None and seconds > 60 * resources.minutes:
        yield f"about {seconds / 60:.0f} minutes, resources.minutes is {resources.minutes:g}"
