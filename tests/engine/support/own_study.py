"""A study with own code that needs no model: the task reports what a module of the study's imports says."""

from __future__ import annotations

from pathlib import Path

TASK = """
from dataclasses import dataclass
from typing import Any
REVISION = 1
SMOKE: dict[str, Any] = {}
@dataclass(frozen=True)
class Config:
    depth: int = 1
def run(config: Config, context: Any) -> dict[str, Any]:
    import helper
    if helper.VALUE < 0:
        raise ValueError("negative")
    return {"metrics": {"best": {"score": helper.VALUE * config.depth}, "where": float("results" in helper.__file__)}}
"""
STUDY = """
study: own
title: Own code
task: {task}
imports: [mine.py]
seeds: [0, 1]
axes: {{depth: {{key: depth, values: [1, 2], baseline: 1}}}}
metrics: {{score: {{from: best, direction: max}}, where: {{}}}}
"""


def write(folder: Path, value: float = 3.0) -> Path:
    """Write task, own code and study; return the study's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.py").write_text(TASK)
    (folder / "mine.py").write_text("import helper\n")
    edit(folder, value)
    file = folder / "own.yaml"
    file.write_text(STUDY.format(task=folder / "task.py"))
    return file


def edit(folder: Path, value: float) -> None:
    (folder / "helper.py").write_text(f"VALUE = {value}\n")
