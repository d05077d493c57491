"""A study whose claims are decided at different looks; `tests/toy_task.py` adds noise, so that seeds differ."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import toy

from studies.engine.results.collect import collect
from studies.engine.storage.results_dir import Store

STUDY = """\
study: growing
task: {task}
seeds: [0, 1, 2]
decide: {{looks: [3, 5, 8]}}
base: {{train: {{steps: 4, noise: 1, seconds: {seconds}}}, side: {side}}}
parts:
  models:
    axes:
      noise: {{key: train.noise, values: [0.5, 1, 2], baseline: 1}}
  tuned:
    base: {{init: {{part: models, noise: 2}}, train.noise: 4}}
    axes:
      shape: {{key: shape, values: [round, long], baseline: round}}
metrics: {{distance: {{direction: min}}}}
resources: {{retries: {retries}}}
"""
TABLES = """\
study: growing
claims:
  - {name: early, text: decided at the first look, paper: none, kind: sampled,
     conditions: [{metric: distance, of: {part: models, noise: 1}, at_least: 3}]}
  - {name: middle, text: decided at the second, paper: none, kind: sampled,
     conditions: [{metric: distance, of: {part: models, noise: 2}, at_least: 3.4}]}
  - {name: late, text: decided at the third, paper: none, kind: sampled,
     conditions: [{metric: distance, of: {part: tuned}, at_least: 1}]}
  - {name: hopeless, text: more seeds are futile, paper: none, kind: sampled,
     conditions: [{metric: distance, of: {part: models, noise: 1}, at_least: 4.05}]}
"""
OTHER = """\
study: other
claims:
  - {name: elsewhere, text: of another study about this one, paper: none, kind: sampled,
     conditions: [{metric: distance, of: {study: growing, part: models, noise: 0.5}, at_least: 3.9}]}
"""
SEEDS = {
    ("models", "baseline"): 3, ("models", "noise=0.5"): 5, ("models", "noise=2"): 5,
    ("tuned", "baseline"): 8, ("tuned", "shape=long"): 3,
}  # fmt: skip
"""Of each arm in the end: `early` is decided at 3, `middle` and `elsewhere` at 5, `late` at 8."""


def write(folder: Path, seconds: float = 0.0, retries: int = 0, side: str = "") -> Path:
    """Write the study and, where a command that runs in this folder finds it, its table file; return the study's."""
    (folder / "paper_tables").mkdir(parents=True, exist_ok=True)
    (folder / "paper_tables" / "growing.yaml").write_text(TABLES)
    (folder / "paper_tables" / "other.yaml").write_text(OTHER)
    file = folder / "growing.yaml"
    file.write_text(STUDY.format(task=toy.TASK, seconds=seconds, retries=retries, side=side or "''"))
    return file


def outcome(results: Path) -> dict[str, object]:
    """Return what a killed driver must not change: the looks, the rules, and every trial with its number."""
    folder, columns = results / "growing", ("part", "arm", "trial", "seed", "status", "metric.distance")
    collect(Store(results), folder)
    with open(folder / "trials.csv") as file:
        frame = [[row[name] for name in columns] for row in csv.DictReader(file)]
    decide = json.loads((folder / "plan.json").read_text())["decide"]
    return {"looks": json.loads((folder / "decisions.json").read_text()), "decide": decide, "frame": frame}
