"""A task and a study small enough to read, for the tests of everything that turns files into plans."""

from __future__ import annotations

from pathlib import Path

TASK = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any, Literal
REVISION = 1
SMOKE = {"train.epochs": 1}
@dataclass(frozen=True)
class Train:
    epochs: int = 10
    lr: float = 0.1
    optimizer: Literal["adamw", "sgd"] = "adamw"
    warmup: int = 0
    def __post_init__(self) -> None:
        if self.warmup > self.epochs:
            raise ValueError(f"warmup {self.warmup} is longer than the {self.epochs} epochs")
@dataclass(frozen=True)
class Config:
    model: dict[str, Any] = field(default_factory=lambda: {"name": "sret_tiny"}, metadata={"kind": "model"})
    train: Train = field(default_factory=Train)
def run(config: Config, context: Any) -> dict[str, Any]:
    return {"metrics": {}}
"""

STUDY = """\
study: small
title: A small question
task: task.py
seeds: [0, 1]
base: {train.lr: 0.2}
scales:
  tiny: {train: {epochs: 2}}
  large:
    train: {epochs: 50}
    seeds: [0, 1, 2]
    resources: {gpus: 0.5, minutes: 30}
    parts:
      net:
        model.base_dim: 64
        axes:
          slices: {values: {none: {model.groups: [[1, 1]]}, paper: {model.groups: [[16, 4]]}}}
default_scale: tiny
parts:
  net:
    base: {model: {name: sret_tiny, base_dim: 8}}
    axes:
      recursion: {key: model.recursion, values: [1, 2, 3], baseline: 2, label: Recursion depth}
      slices:
        values: {none: {model.groups: [[1, 1]]}, paper: {model.groups: [[8, 2]]}}
        baseline: paper
        only: {recursion: [2, 3]}
    design: [one_at_a_time: [recursion, slices]]
  rate:
    axes:
      lr: {key: train.lr, values: {slow: 0.01, fast: 1}, baseline: slow}
metrics:
  top1: {from: best, direction: max, unit: "%"}
  seconds: {}
resources: {cpus: 2, retries: 2}
"""


def write(folder: Path, study: str = STUDY, name: str = "small") -> Path:
    """The task and the study in a folder; the study's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(TASK)
    file = folder / f"{name}.yaml"
    file.write_text(study)
    return file
