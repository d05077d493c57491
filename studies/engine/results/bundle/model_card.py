"""Model cards of trials that kept their weights: what the model is, how it was trained, what it reaches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from studies.engine.results.bundle.summary import dataset, finished_values, model
from studies.engine.results.readings import Reading
from studies.engine.storage import kept_weights
from studies.engine.storage.plan_file import PlanFile, PlannedTrial
from studies.engine.storage.trial_folder import TrialFolder

FILE = "model_card.md"
RECONSTRUCTED = ("mor_vit_", "edge_recvit_", "tpc_")
"""Beginnings of the names of models whose papers have no public code."""
NOTE = "**Reconstructed:** the paper has no public code; details that are not public are dynvit's choice."


TEMPLATE = """---
{head}
---

# {name}

Trial `{trial.folder}` ({trial.part} {trial.arm}, seed {trial.seed}) of study {study}: {title}.
{note}
## Weights

`{weights[file]}` of the trial's folder, sha256 `{weights[sha256]}`. The file is not in the export.
Where the trial's folder is, `dynvit.load_trial("trials/{trial.folder}")` loads it with its options.

## Results

On the validation images of {data}; one seed. Means and intervals are in the study's tables.

| metric | value | unit |
|---|---|---|
{rows}

## Training

```yaml
{config}
```

## Limits

Trained for a comparison under equal settings, not for use: check it on your own data first.
"""


def card(plan: PlanFile, trial: PlannedTrial, folder: TrialFolder, got: Reading, spec: Mapping[str, Any]) -> str | None:
    """Return the card in the form of the Hugging Face hub; None where the trial kept no weights or names no model."""
    weights = _weights(folder, got)
    config = spec.get("config") or {}
    name, data = model(config), dataset(config)
    if weights is None or not name:
        return None
    values = {metric: finished_values(plan, metric, got) for metric in plan.metrics}
    numbers = {metric: number for metric, number in values.items() if number is not None}
    rows = [f"| {metric} | {number:g} | {plan.metrics[metric].unit} |" for metric, number in numbers.items()]
    return TEMPLATE.format(
        head=_yaml(_header(name, data, numbers)),
        name=name,
        trial=trial,
        study=plan.full_name,
        title=plan.title or plan.study,
        note=f"\n{NOTE}\n" if name.startswith(RECONSTRUCTED) else "",
        weights=weights,
        data=data or "the task",
        rows="\n".join(rows),
        config=_yaml(dict(config)),
    )


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).strip()


def _weights(folder: TrialFolder, got: Reading) -> Mapping[str, str] | None:
    """Return file name and digest of the weights that a finished trial kept."""
    if recorded := got.result.get("kept_weights"):
        return dict(recorded)
    files = [file for file in folder.weights_files[:2] if file.is_file()] if got.status == "done" else []
    return kept_weights.describe(files[0], folder) if files else None


def _header(name: str, data: str, numbers: Mapping[str, float]) -> dict[str, Any]:
    """Return the card's metadata: library, data set, results as `model-index`."""
    metrics = [{"type": "accuracy" if metric == "top1" else metric, "name": metric, "value": number}
               for metric, number in numbers.items()]  # fmt: skip
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": data},
        "metrics": metrics,
    }
    return {
        "library_name": "timm",
        "tags": ["dynvit", "image-classification"],
        "datasets": [data] if data else [],
        "model-index": [{"name": name, "results": [result]}],
    }
