"""Time and memory of trials before any has run, from profiled models and the assumptions below.

A training step takes 3 x 2 x multiply-accumulates x images floating-point operations (forward, and twice that
backward) at the sustained speed of the device, and at least the time to start its operators. Memory is weights,
gradients and two optimizer moments in float32, plus what autograd keeps for each image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studies.engine.catalog.tasks import Task
from studies.engine.core.config import get
from studies.engine.core.trial import Resources, Trial
from studies.engine.planning.forecast import model_costs
from studies.engine.planning.forecast.gpus import Gpu
from studies.engine.planning.forecast.model_costs import ModelCost, ModelSpec

CPU_CORE_TFLOPS = 0.05
"""Sustained by one CPU core in float32."""
OPERATOR_SECONDS = 8e-6
"""To start one operator from Python."""
BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments in float32."""
ACTIVATION_OVERHEAD = 1.2
"""Memory over what autograd keeps: buffers of the backward pass, fragmentation."""
RUNTIME_GB = 0.6
"""Libraries and the CUDA context."""


@dataclass(frozen=True)
class Requirement:
    """Of one trial; None for what is not known."""

    seconds: float | None
    memory_gb: float | None
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
    arms = {id(trial.arm): trial for trial in trials}  # one question for all seeds
    answers = task.check([trial.arm.config for trial in arms.values()])
    works = {key: answer.work for key, answer in zip(arms, answers, strict=True) if answer.work is not None}
    specs = {key: _specs(arms[key], work) for key, work in works.items()}
    costs = model_costs.load(results)
    unprofiled = {name: spec for models in specs.values() for name, spec in models if name not in costs}
    failures: dict[str, str] = {}
    if profile and unprofiled:
        failures = model_costs.profile(task, unprofiled, results)
        costs = model_costs.load(results)
        unprofiled = {name: spec for name, spec in unprofiled.items() if name not in costs}
    needs = {
        key: _requirement(work, [costs[name] for name, _ in specs[key]], arms[key].resources, gpu)
        for key, work in works.items()
        if all(name in costs for name, _ in specs[key])
    }
    found = {trial.folder_id: needs[id(trial.arm)] for trial in trials if id(trial.arm) in needs}
    return Forecast(gpu, found, unprofiled, failures)


def _specs(trial: Trial, work: Mapping[str, Any]) -> list[tuple[str, ModelSpec]]:
    """Return key and spec of the trial's model, and of its teacher where it has one."""
    fields = ["model", *(["teacher.model"] if get(trial.config, "teacher.model.name") else [])]
    specs = [ModelSpec(get(trial.config, name), work["size"], work["channels"], work["classes"]) for name in fields]
    return [(spec.key(get(trial.defaults, name)), spec) for name, spec in zip(fields, specs, strict=True)]


def _requirement(work: Mapping[str, Any], models: list[ModelCost], resources: Resources, gpu: Gpu) -> Requirement:
    model, teacher = [*models, ModelCost()][:2]
    saved = model.saved_amp if work["amp"] and resources.gpus else model.saved
    parameters = (BYTES_PER_PARAMETER + 4 * work["copies"]) * model.params + 4 * teacher.params
    activations = ACTIVATION_OVERHEAD * saved * work["batch"] / resources.world
    memory_gb = RUNTIME_GB + (parameters + activations + work["held"]) / 1e9
    if work["images"] is None:  # the config does not say how many there are
        return Requirement(None, memory_gb)
    trained = 3 * model.macs * work["images"] + 3 * teacher.macs * work["taught"]
    alone = work.get("alone", 0) * resources.world  # while the other processes wait; tasks of others have none
    evaluated = model.macs * (work["seen"] + alone) + teacher.macs * work["images"]
    operations = 2 * (trained + evaluated)
    starting = 3 * model.ops * work["steps"] * OPERATOR_SECONDS
    if resources.gpus:
        speed = gpu.tflops * 1e12 * resources.gpus * resources.nodes
        return Requirement(max(operations / speed, starting), memory_gb)
    cores = max(1, resources.cpus) * resources.world
    return Requirement(operations / (CPU_CORE_TFLOPS * 1e12 * cores) + starting, memory_gb)
