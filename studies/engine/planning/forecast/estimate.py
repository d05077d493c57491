"""What the trials to run will take: by finished trials of the same study and scale where there are some, else reckoned.

By part, as the parts' models differ. A part without a finished trial takes what was reckoned for it, corrected by how
far reckoning was off where trials have finished; where nothing can be reckoned, the mean of the other parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.engine.core.trial import State, Trial
from studies.engine.planning.forecast.requirements import RUNTIME_GB, Need, Reckoning
from studies.engine.storage.results_dir import Store

SAMPLE = 200  # finished trials whose times are read


@dataclass(frozen=True)
class Estimate:
    seconds: float
    """Of all trials to run, one after the other; of those about which nothing is known, nothing."""
    gpu_hours: float
    seconds_per_trial: float
    measured_on: int
    device: str
    """That of the measured trials."""
    reckoned: int = 0
    """So many of the trials to run are reckoned, not measured."""
    basis: str = ""
    """What the reckoning assumes."""
    unknown: int = 0
    """Trials whose time is neither measured nor reckoned."""
    memory_gb: float | None = None
    """The most that one process of a trial takes; None where nothing is known."""
    memory_of: str = ""
    """Which arm takes it, and whether that is measured."""
    room_gb: float | None = None
    """Memory of the GPU that is reckoned with, or of the trial's machine; None where that is not said."""
    misfits: tuple[str, ...] = ()
    """Arms that do not fit their resources, with the reason."""
    uncounted: int = 0
    """Models of which nothing is known yet."""
    refused: tuple[str, ...] = ()
    """Why `--count` could not count some of them."""


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
    reckoning: Reckoning | None,
) -> Estimate | None:
    """None: nothing to run, or nothing known."""
    found = _measured(done, store)
    if not to_run or (not found and reckoning is None):
        return None
    needs = reckoning.needs if reckoning is not None else {}
    seconds = _times(to_run, found, needs)
    memory = {trial.folder_id: _memory(trial, found, needs) for trial in to_run}
    known = [s for s in seconds.values() if s is not None]
    if not known and not any(memory.values()) and not (reckoning and reckoning.uncounted):
        return None
    parts = {m.part for m in found}
    largest = max(to_run, key=lambda t: memory[t.folder_id] or 0)
    device = next((s.device for m in reversed(found) if (s := states.get(m.folder)) and s.device), "")
    return Estimate(
        sum(known),
        sum((seconds[t.folder_id] or 0) * t.resources.gpus * t.resources.nodes for t in to_run) / 3600,
        sum(known) / len(known) if known else 0.0,
        len(found),
        device,
        sum(t.arm.part not in parts and t.folder_id in needs for t in to_run),
        _basis(to_run, reckoning),
        sum(s is None for s in seconds.values()),
        memory[largest.folder_id],
        f"{largest.arm.part} {largest.arm.label}",
        _room(largest, reckoning),
        tuple(reckoning.misfits(to_run, seconds, memory)) if reckoning is not None else (),
        len(reckoning.uncounted) if reckoning is not None else 0,
        tuple(f"{key}: {why}" for key, why in reckoning.refused.items()) if reckoning is not None else (),
    )


def _measured(done: Sequence[Trial], store: Store) -> list[Measured]:
    found = []
    for trial in done[:: max(1, len(done) // SAMPLE)]:
        cost = (store.trial(trial.folder_id).result() or {}).get("cost", {})
        if isinstance(cost, dict) and isinstance(cost.get("seconds"), int | float):
            peak = cost.get("peak_memory_mb")
            gpu = bool(cost.get("gpu_seconds"))
            memory = peak * 2**20 / 1e9 + (RUNTIME_GB if gpu else 0) if isinstance(peak, int | float) else None
            found.append(Measured(trial.arm.part, float(cost["seconds"]), memory, gpu, trial.folder_id))
    return found


def _times(to_run: Sequence[Trial], found: Sequence[Measured], needs: Mapping[str, Need]) -> dict[str, float | None]:
    by_part: dict[str, list[float]] = {}
    for m in found:
        by_part.setdefault(m.part, []).append(m.seconds)
    parts = {part: sum(seconds) / len(seconds) for part, seconds in by_part.items()}
    mean = sum(m.seconds for m in found) / len(found) if found else None
    both = [(m.seconds, n.seconds) for m in found if (n := needs.get(m.folder)) is not None and n.seconds]
    off = sum(a for a, _ in both) / sum(b for _, b in both) if both else 1.0

    def seconds(trial: Trial) -> float | None:
        if trial.arm.part in parts:
            return parts[trial.arm.part]
        need = needs.get(trial.folder_id)
        return need.seconds * off if need is not None and need.seconds is not None else mean

    return {trial.folder_id: seconds(trial) for trial in to_run}


def _memory(trial: Trial, found: Sequence[Measured], needs: Mapping[str, Need]) -> float | None:
    """Measured in the same part on the same kind of device, else reckoned."""
    on_gpu = trial.resources.gpus > 0
    there = [m.memory_gb for m in found if m.part == trial.arm.part and m.on_gpu == on_gpu and m.memory_gb is not None]
    need = needs.get(trial.folder_id)
    return max(there) if there else (None if need is None else need.memory_gb)


def _basis(to_run: Sequence[Trial], reckoning: Reckoning | None) -> str:
    if reckoning is None:
        return ""
    return reckoning.device.told if to_run[0].resources.gpus else reckoning.cpu


def _room(trial: Trial, reckoning: Reckoning | None) -> float | None:
    if trial.resources.gpus:
        return None if reckoning is None else reckoning.device.memory_gb * min(1.0, trial.resources.gpus)
    return trial.resources.memory_gb
