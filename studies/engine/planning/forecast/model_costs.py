"""What training each model costs per image, profiled once and kept.

`model_costs.json` in this folder has every model of the studies in `studies/` (benchmarks/model_costs.py writes it);
`studies plan --count` profiles others on this machine and keeps them in the results folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.engine.catalog.tasks import Task
from studies.engine.core.files import read_json, write_atomic

SHIPPED = Path(__file__).with_name("model_costs.json")
CACHE = ".model_costs.json"
"""In the results folder."""


@dataclass(frozen=True)
class ModelCost:
    """Of one image in training, except `params` and `ops`."""

    params: float = 0
    macs: float = 0
    """Multiply-accumulates of the forward pass."""
    saved: float = 0
    """Bytes that autograd keeps for the backward pass in float32."""
    saved_amp: float = 0
    """The same under bfloat16 autocast."""
    ops: float = 0
    """Operators of a forward pass."""


@dataclass(frozen=True)
class ModelSpec:
    """A model at the size at which a trial trains it."""

    options: Mapping[str, Any]
    size: int
    channels: int
    classes: int

    def key(self, defaults: Mapping[str, Any]) -> str:
        """Name and non-default options: an option that was added later, at its default, keeps the key."""
        changed = {k: v for k, v in self.options.items() if k != "name" and (k not in defaults or defaults[k] != v)}
        texts = [f"{k}={json.dumps(v, separators=(',', ':'))}" for k, v in sorted(changed.items())]
        return " ".join([str(self.options["name"]), f"{self.channels}x{self.size}", f"{self.classes} classes", *texts])


def load(results: Path) -> dict[str, ModelCost]:
    """Return the known costs by key; those profiled on this machine take precedence."""
    files = (SHIPPED, results / CACHE)
    return {key: ModelCost(**value) for file in files for key, value in (read_json(file) or {}).items()}


def profile(task: Task, specs: Mapping[str, ModelSpec], results: Path) -> dict[str, str]:
    """Profile models as the task does, add them to the cache, and return why some could not be profiled."""
    counted = {key: task.weigh(spec.options, spec.size, spec.channels, spec.classes) for key, spec in specs.items()}
    found = {key: cost for key, cost in counted.items() if not isinstance(cost, str)}
    write(results / CACHE, {**(read_json(results / CACHE) or {}), **found})
    return {key: reason for key, reason in counted.items() if isinstance(reason, str)}


def write(file: Path, costs: Mapping[str, Any]) -> None:
    """Write one model per line, sorted, so that a change is one line of a diff."""
    rounded = {key: {name: round(value) for name, value in costs[key].items()} for key in sorted(costs)}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in rounded.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, "{\n" + ",\n".join(lines) + "\n}\n")
