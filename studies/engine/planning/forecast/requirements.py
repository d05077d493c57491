"""Time and memory of trials before any has run: from counted models, and a stated assumption about the device.

A step takes 3 x 2 x multiply-accumulates x images (forward, and twice that backward) at the device's sustained speed,
but no less than starting its operators does. Memory is weights, gradients and two moments in float32, and what autograd
keeps for each image. Where trials have been measured their times stand, and these numbers only bring them to others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studies.engine.catalog.tasks import Answer, Task
from studies.engine.core.trial import Resources, Trial
from studies.engine.planning.forecast import model_costs
from studies.engine.planning.forecast.gpus import CORE_TFLOPS, Device
from studies.engine.planning.forecast.model_costs import Load, Weight

START_SECONDS = 8e-6
"""To start one operator, on the CPU's side."""
BYTES_A_PARAMETER = 16
WORKSPACE = 1.2
"""Of what autograd keeps: buffers of the backward pass, fragments."""
RUNTIME_GB = 0.6
"""Libraries, the CUDA context."""


@dataclass(frozen=True)
class Need:
    """Of one trial."""

    seconds: float | None
    """None where the config does not say how many images there are."""
    memory_gb: float
    """Of each of its processes: on the GPU where it has one, else of the machine."""


@dataclass(frozen=True)
class Reckoning:
    device: Device
    needs: Mapping[str, Need]
    """By folder id, of the trials whose models are counted."""
    uncounted: Mapping[str, Load]
    """Models not counted yet, by key."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why some could not be counted."""

    @property
    def cpu(self) -> str:
        return f"{1e3 * CORE_TFLOPS:g} GFLOP/s a core assumed"

    def misfits(
        self, trials: Iterable[Trial], seconds: Mapping[str, float | None], memory_gb: Mapping[str, float | None]
    ) -> Iterator[str]:
        """A line for every way in which an arm does not fit its resources; by folder id what it is thought to take."""
        told = set()
        for trial in trials:
            arm = f"{trial.arm.part} {trial.arm.label}"
            if arm not in told:
                told.add(arm)
                need = seconds[trial.folder_id], memory_gb[trial.folder_id]
                yield from (f"{arm}: {line}" for line in _misfits(trial.resources, *need, self.device))


def reckon(trials: Sequence[Trial], task: Task, results: Path, device: Device, count: bool = False) -> Reckoning | None:
    """None for a task that does not say what its trials amount to."""
    if not {"work", "weigh"} <= task.offers:
        return None
    configs = {id(trial.config): trial.config for trial in trials}
    answers = dict(zip(configs, task.check([*configs.values()]), strict=True))
    found = _Reckoner(answers, model_costs.known(results), device)
    needs = {trial.folder_id: need for trial in trials if (need := found.need(trial)) is not None}
    if count and found.uncounted:
        counted, refused = model_costs.count(task, found.uncounted.items(), results / model_costs.KEPT)
        again = reckon(trials, task, results, device) if counted else None
        return replace(again or Reckoning(device, needs, found.uncounted), refused=refused)
    return Reckoning(device, needs, found.uncounted)


class _Reckoner:
    """Remembers what arms have in common: seeds of an arm share its config object."""

    def __init__(self, answers: Mapping[int, Answer], known: Mapping[str, Weight], device: Device) -> None:
        self.answers, self.known, self.device = answers, known, device
        self.uncounted: dict[str, Load] = {}
        self._needs: dict[int, Need | None] = {}

    def need(self, trial: Trial) -> Need | None:
        key = id(trial.config)
        if key not in self._needs:
            self._needs[key] = self._need(trial)
        return self._needs[key]

    def _need(self, trial: Trial) -> Need | None:
        work = self.answers[id(trial.config)].work
        if work is None:  # refused by the task's rules
            return None
        model = self._weight(trial, "model", work)
        teacher = self._weight(trial, "teacher.model", work) if _name(trial.config, "teacher.model") else NOTHING
        if model is None or teacher is None:
            return None
        return Need(
            _seconds(work, model, teacher, trial.resources, self.device),
            _memory_gb(work, model, teacher, trial.resources),
        )

    def _weight(self, trial: Trial, field: str, work: Mapping[str, Any]) -> Weight | None:
        load = Load(_get(trial.config, field), work["size"], work["channels"], work["classes"])
        key = load.key(_get(trial.defaults, field))
        if key not in self.known:
            self.uncounted[key] = load
        return self.known.get(key)


NOTHING = Weight(0, 0, 0, 0, 0)


def _seconds(
    work: Mapping[str, Any], model: Weight, teacher: Weight, resources: Resources, device: Device
) -> float | None:
    if work["images"] is None:
        return None
    trained = 3 * model.macs * work["images"] + 3 * teacher.macs * work["taught"]
    seen = model.macs * work["seen"] + teacher.macs * work["images"]
    products = 2 * (trained + seen)
    starting = 3 * model.ops * work["steps"] * START_SECONDS
    if resources.gpus:
        return float(max(products / (device.tflops * 1e12 * resources.gpus * resources.nodes), starting))
    cores = max(1, resources.cpus) * resources.world
    return float(products / (CORE_TFLOPS * 1e12 * cores) + starting)


def _memory_gb(work: Mapping[str, Any], model: Weight, teacher: Weight, resources: Resources) -> float:
    saved = model.saved_amp if work["amp"] and resources.gpus else model.saved
    share = work["batch"] / resources.world
    parameters = (BYTES_A_PARAMETER + 4 * work["copies"]) * model.params + 4 * teacher.params
    return float(RUNTIME_GB + (parameters + WORKSPACE * saved * share + work["held"]) / 1e9)


def _misfits(resources: Resources, seconds: float | None, memory: float | None, device: Device) -> Iterator[str]:
    if memory is not None and resources.gpus:
        room = device.memory_gb * min(1.0, resources.gpus)
        if memory > room:
            share = f"{resources.gpus:g} of {device.called}" if resources.gpus < 1 else device.called
            yield f"about {memory:.1f} GB, {share} has {room:g} GB"
    elif memory is not None and resources.memory_gb is not None and memory * resources.per_node > resources.memory_gb:
        yield f"about {memory * resources.per_node:.1f} GB, resources.memory_gb is {resources.memory_gb:g}"
    if resources.minutes is not None and seconds is not None and seconds > 60 * resources.minutes:
        yield f"about {seconds / 60:.0f} minutes, resources.minutes is {resources.minutes:g}"


def _name(config: Mapping[str, Any], field: str) -> str:
    return str(_get(config, field).get("name", ""))


def _get(config: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    found: Any = config
    for step in field.split("."):
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found if isinstance(found, Mapping) else {}
