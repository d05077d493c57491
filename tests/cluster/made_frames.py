"""A toy study of sixty trials, and its frame without what differs between two runs."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

TOY = Path(__file__).parents[1] / "toy_task.py"
STUDY = """
study: {name}
title: Sixty small descents
task: toy_task.py
seeds: [0, 1, 2]
base: {{train: {{steps: 3, seconds: {seconds}}}}}
axes:
  lr: {{key: train.lr, values: [0.02, 0.05, 0.1, 0.2, 0.3], baseline: 0.1}}
  shape: {{key: shape, values: [round, long], baseline: round}}
  depth: {{key: depth, values: [1, 2], baseline: 1}}
design:
  - grid: [lr, shape, depth]
metrics:
  score: {{from: best, direction: max}}
"""
OWN = ("cost.seconds", "started", "ended")


def write_study(folder: Path, name: str, seconds: float = 0.0) -> Path:
    shutil.copy(TOY, folder)
    file = folder / f"{name}.yaml"
    file.write_text(STUDY.format(name=name, seconds=seconds))
    return file


def frame(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    kept = [{k: v for k, v in row.items() if k not in OWN and not k.startswith("env.")} for row in rows]
    return sorted(kept, key=lambda row: (row["trial"], row["arm"]))
