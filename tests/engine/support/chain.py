"""A study of which one part starts from the other's weights; `tests/toy_task.py` descends from where they end."""

from __future__ import annotations

from pathlib import Path

import toy

STUDY = """\
study: chain
task: {task}
seeds: [0, 1]
base: {{train: {{steps: 3}}}}
parts:
  models:
    axes:
      lr: {{key: train.lr, values: [0.05, 0.1], baseline: 0.1}}
  tuned:
    base: {{init: {{part: models, lr: 0.05}}}}
    axes:
      shape: {{key: shape, values: [round, long], baseline: round}}
      from:
        baseline: models
        values:
          models: {{}}
          tuned: {{init: {{part: tuned}}}}
metrics: {{score: {{from: best, direction: max}}}}
resources: {{retries: 0}}
"""
OTHER = """\
study: other
task: {task}
seeds: [0, 1]
axes:
  from:
    baseline: chain
    values:
      chain: {{init: {{study: chain, part: models, lr: 0.05}}}}
      seven: {{init: {{study: chain, part: tuned, arm: shape=long, seed: 7}}}}
metrics: {{score: {{from: best, direction: max}}}}
"""


def write(folder: Path, text: str = STUDY, name: str = "chain") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text.format(task=toy.TASK))
    return file
