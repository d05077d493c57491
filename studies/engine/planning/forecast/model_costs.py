"""What training each model takes, counted once and kept: model_costs.json beside this file, and one in the results.

The file beside this one holds every model of the studies in `studies/` (benchmarks/model_costs.py writes it); what it
lacks `studies plan --count` counts on this machine and keeps in the results folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studies.engine.catalog.tasks import Task
from studies.engine.storage.trial_folder import read_json, write_atomic

SHIPPED = Path(__file__).with_name("model_costs.json")
KEPT = ".model_costs.json"


@dataclass(frozen=True)
class Weight:
    """Of one image in training, but for `params` and `ops`."""

    params: float
    macs: float
    """Forward."""
    saved: float
    """Bytes kept for the backward pass in float32."""
    saved_amp: float
    """The same under bfloat16 autocast."""
    ops: float
    """Operators of a forward pass."""


@dataclass(frozen=True)
class Load:
    """A model at the size at which a trial trains it."""

    options: Mapping[str, Any]
    size: int
    channels: int
    classes: int

    def key(self, defaults: Mapping[str, Any]) -> str:
        """The name and what differs from its defaults: an option added since, at its default, changes nothing."""
        told = {k: v for k, v in self.options.items() if k != "name" and (k not in defaults or defaults[k] != v)}
        words = [f"{k}={json.dumps(v, separators=(',', ':'))}" for k, v in sorted(told.items())]
        return " ".join([str(self.options["name"]), f"{self.channels}x{self.size}", f"{self.classes} classes", *words])


def known(results: Path) -> dict[str, Weight]:
    """By key; what was counted here wins."""
    found: dict[str, Weight] = {}
    for file in (SHIPPED, results / KEPT):
        for key, value in (read_json(file) or {}).items():
            found[key] = Weight(**value)
    return found


def count(task: Task, loads: Iterable[tuple[str, Load]], file: Path) -> tuple[dict[str, Weight], dict[str, str]]:
    """Count these models as the task counts them and add them to the file. Also why some could not be counted."""
    found, refused = {}, {}
    for key, load in loads:
        counted = task.weigh(load.options, load.size, load.channels, load.classes)
        if isinstance(counted, str):  # a model that cannot be built would fail as a trial too, for the same reason
            refused[key] = counted
        else:
            found[key] = Weight(**counted)
    kept = {**(read_json(file) or {}), **{key: asdict(weight) for key, weight in found.items()}}
    write(file, kept)
    return found, refused


def write(file: Path, kept: Mapping[str, Any]) -> None:
    """One model a line, in order, so that a change shows as one."""
    whole = {key: {name: round(value) for name, value in kept[key].items()} for key in sorted(kept)}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in whole.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, "{\n" + ",\n".join(lines) + "\n}\n")
