"""A study with own code that needs no model: the task reports what a module of the study's imports says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from studies.engine.storage.results_dir import Store

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


def run(folder: Path, *options: str, **environment: str) -> dict[int, float]:
    """Run the study with one seed, in a process of its own, and return the score of each depth."""
    from raycluster import BARE, QUICK, ROOT

    done = subprocess.run(
        [sys.executable, "-c", BARE, "run", "own.yaml", "--seeds", "0", *options],
        cwd=folder,
        env={**os.environ, **QUICK, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = {}
    for path in (folder / "results" / "trials").iterdir():
        trial = Store(folder / "results").trial(path.name)
        result, spec = trial.result() or {}, trial.spec() or {}
        assert result["metrics"]["where"] == 1.0  # imported from the results folder
        assert trial.environment(trial.state().attempt)["own"]["fingerprint"] in spec["own"]
        found[int(spec["config"]["depth"])] = float(result["metrics"]["best"]["score"])
    return found


def check_on(folder: Path, *options: str, **environment: str) -> None:
    """Run, edit, run what is stale of one arm: workers import the copy of the moment at which a run has started."""
    write(folder, 3.0)
    assert run(folder, *options, **environment) == {1: 3.0, 2: 6.0}
    edit(folder, 5.0)
    assert run(folder, *options, **environment) == {1: 3.0, 2: 6.0}
    assert run(folder, *options, "--rerun", "stale", "--only", "depth=2", **environment) == {1: 3.0, 2: 10.0}
