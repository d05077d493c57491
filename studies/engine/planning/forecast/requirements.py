"""Time and memory of trials before any has run, from profiled models and the table of assumptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.engine.catalog.tasks import Task
from studies.engine.core.trial import Resources, Trial
from studies.engine.planning.forecast import assumptions, model_costs
from studies.engine.planning.forecast.gpus import Gpu
from studies.engine.planning.forecast.model_costs import NO_COST, ModelCost, ModelSpec


@dataclass(frozen=True)
class Requirement:
    """Of one trial."""

    seconds: float | None
    """None where the config does not say how many images there are."""
    memory_gb: float
    """Of each of its processes: on the GPU where it has one, else in the machine."""


@dataclass(frozen=True)
class Forecast:
    gpu: Gpu
    requirements: Mapping[str, Requirement]
    """By folder id, of the trials whose models are profiled."""
    unprofiled: Mapping[str, ModelSpec]
    """Models without cost data, by key."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Why some of them could not be profiled."""


def forecast(trials: Sequence[Trial], task: Task, results: Path, gpu: Gpu, profile: bool = False) -> Forecast | None:
    """Forecast each trial; profile: profile models without cost data on this machine first (imports torch).

    None for a task that does not describe the work of its trials.
    """
    if not {"work", "weigh"} <= task.offers:
        return None
    configs = {id(trial.config): trial.config for trial in trials}
    workloads = {key: answer.work for key, answer in zip(configs, task.check([*configs.values()]), strict=True)}
    found, unprofiled = _requirements(trials, workloads, model_costs.load(results), gpu)
    failures: dict[str, str] = {}
    if profile and unprofiled:
        failures = model_costs.profile(task, unprofiled, results)
        found, unprofiled = _requirements(trials, workloads, model_costs.load(results), gpu)
    return Forecast(gpu, found, unprofiled, failures)


def _requirements(
    trials: Sequence[Trial], workloads: Mapping[int, Mapping[str, Any] | None], costs: Mapping[str, ModelCost], gpu: Gpu
) -> tuple[dict[str, Requirement], dict[str, ModelSpec]]:
    """Return requirements by folder id, and unprofiled models by key. The seeds of an arm share their config."""
    by_config: dict[int, Requirement | None] = {}
    unprofiled: dict[str, ModelSpec] = {}
    for trial in trials:
        if id(trial.config) not in by_config:
            work = workloads[id(trial.config)]
            if work is None:
                by_config[id(trial.config)] = None
                continue
            specs = [_spec(trial, "model", work)]
            if _get(trial.config, "teacher.model").get("name"):
                specs.append(_spec(trial, "teacher.model", work))
            unprofiled |= {key: spec for key, spec in specs if key not in costs}
            model, teacher = [*(costs.get(key) for key, _ in specs), NO_COST][:2]
            by_config[id(trial.config)] = None if model is None or teacher is None else Requirement(
                _seconds(work, model, teacher, trial.resources, gpu), _memory_gb(work, model, teacher, trial.resources)
            )  # fmt: skip
    found = {trial.folder_id: by_config[id(trial.config)] for trial in trials}
    return {name: one for name, one in found.items() if one is not None}, unprofiled


def _spec(trial: Trial, field: str, work: Mapping[str, Any]) -> tuple[str, ModelSpec]:
    spec = ModelSpec(_get(trial.config, field), work["size"], work["channels"], work["classes"])
    return spec.key(_get(trial.defaults, field)), spec


def _seconds(
    work: Mapping[str, Any], model: ModelCost, teacher: ModelCost, resources: Resources, gpu: Gpu
) -> float | None:
    if work["images"] is None:
        return None
    trained = 3 * model.macs * work["images"] + 3 * teacher.macs * work["taught"]
    evaluated = model.macs * work["seen"] + teacher.macs * work["images"]
    operations = 2 * (trained + evaluated)
    starting = 3 * model.ops * work["steps"] * assumptions.OPERATOR_SECONDS
    if resources.gpus:
        return float(max(operations / (gpu.tflops * 1e12 * resources.gpus * resources.nodes), starting))
    cores = max(1, resources.cpus) * resources.world
    return float(operations / (assumptions.CPU_CORE_TFLOPS * 1e12 * cores) + starting)


def _memory_gb(work: Mapping[str, Any], model: ModelCost, teacher: ModelCost, resources: Resources) -> float:
    saved = model.saved_amp if work["amp"] and resources.gpus else model.saved
    images = work["batch"] / resources.world
    parameters = (assumptions.BYTES_PER_PARAMETER + 4 * work["copies"]) * model.params + 4 * teacher.params
    activations = assumptions.ACTIVATION_OVERHEAD * saved * images
    return float(assumptions.RUNTIME_GB + (parameters + activations + work["held"]) / 1e9)


def _get(config: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """Return the mapping at a dotted key, empty where there is none."""
    found: Any = config
    for step in field.split("."):
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
