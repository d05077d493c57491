"""plan.json of a study folder: the planned trials, so that `status`, `tables` and others need no study file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json, write_atomic

NAME = "plan.json"
TEXT_KEYS = ("study", "title", "label", "scale", "study_file", "study_text", "task")


@dataclass(frozen=True)
class PlannedMetric:
    source: str | None
    direction: str
    unit: str


@dataclass(frozen=True)
class PlannedAxis:
    name: str
    label: str
    levels: tuple[str, ...]
    baseline: str


@dataclass(frozen=True)
class PlannedPart:
    name: str
    baseline: str
    """The baseline arm's label."""
    axes: tuple[PlannedAxis, ...]


@dataclass(frozen=True)
class PlannedTrial:
    part: str
    arm: str
    coords: dict[str, str | None]
    baseline: bool
    blocks: tuple[str, ...]
    seed: int
    trial: str
    folder: str


@dataclass(frozen=True)
class PlanFile:
    path: Path
    study: str
    title: str
    label: str
    scale: str
    study_file: str
    study_text: str
    task: str
    metrics: dict[str, PlannedMetric]
    parts: tuple[PlannedPart, ...]
    trials: tuple[PlannedTrial, ...]

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def full_name(self) -> str:
        return folder_name(self.study, self.label)


def folder_name(study: str, label: str) -> str:
    """``redundancy_ablation@smoke``; the label is empty for the plain run at the default scale."""
    return f"{study}@{label}" if label else study


def find(store_root: Path, name: str, label: str = "") -> Path | None:
    """The study folder of that name and label, or None where nothing was planned.

    A label that begins with the default scale's name finds the folder that leaves it out.
    """
    folder = store_root / folder_name(name, label)
    if (folder / NAME).is_file():
        return folder
    scale, _, rest = label.partition("-")
    short = store_root / folder_name(name, rest)
    plan = read_json(short / NAME) if scale else None
    return short if plan is not None and plan.get("scale") == scale else None


def folders(store_root: Path) -> Iterator[Path]:
    """Every study folder of a results folder, in order of name."""
    yield from sorted(path.parent for path in store_root.glob(f"*/{NAME}"))


def write_plan(plan: PlanFile) -> Path:
    """Write plan.json; a file with the same content is left untouched."""
    text = json.dumps(to_json(plan), indent=1, ensure_ascii=False) + "\n"
    plan.folder.mkdir(parents=True, exist_ok=True)
    if not plan.path.is_file() or plan.path.read_text(encoding="utf-8") != text:
        write_atomic(plan.path, text)
    return plan.path


def to_json(plan: PlanFile) -> dict[str, Any]:
    """Return the contents of plan.json."""
    return {
        "schema": 1,
        **{key: getattr(plan, key) for key in TEXT_KEYS},
        "metrics": {
            name: {"from": m.source, "direction": m.direction, "unit": m.unit} for name, m in plan.metrics.items()
        },
        "parts": [asdict(part) for part in plan.parts],
        "trials": [vars(trial) for trial in plan.trials],
    }


def read_plan(folder: Path) -> PlanFile:
    """Read a study folder's plan; FileNotFoundError where there is none (or it is damaged)."""
    path = folder / NAME
    raw = read_json(path)
    if raw is None or "trials" not in raw:
        raise FileNotFoundError(f"no plan in {folder}: nothing has been run there")
    metrics = {k: PlannedMetric(m["from"], m["direction"], m["unit"]) for k, m in raw["metrics"].items()}
    parts = tuple(
        PlannedPart(
            p["name"],
            p["baseline"],
            tuple(PlannedAxis(a["name"], a["label"], tuple(a["levels"]), a["baseline"]) for a in p["axes"]),
        )
        for p in raw["parts"]
    )
    trials = tuple(PlannedTrial(**{**t, "blocks": tuple(t["blocks"])}) for t in raw["trials"])
    texts = {key: raw[key] for key in TEXT_KEYS}
    return PlanFile(path=path, metrics=metrics, parts=parts, trials=trials, **texts)
