"""A study folder and its trial folders written by hand, as a run leaves them, for the tests of what reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.engine.core.trial import State
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

START = 1_790_000_000.0
PARTS = {
    "sret": {"recursion": ["2", "1", "3"]},
    "mor": {"routing": ["expert", "token"], "capacity": ["0.5", "0.25"]},
}
METRICS = {
    "top1": {"from": "best", "direction": "max", "unit": "%"},
    "loss": {"from": "val.loss", "direction": "min", "unit": ""},
    "gflops": {"from": None, "direction": "min", "unit": ""},
}


def arms() -> list[dict[str, Any]]:
    """Each part's baseline first, then one arm per other level; capacity is inert where routing is token."""
    out: list[dict[str, Any]] = []
    for part, axes in PARTS.items():
        base = {axis: levels[0] for axis, levels in axes.items()}
        out.append({"part": part, "arm": "baseline", "coords": base, "baseline": True})
        for axis, levels in axes.items():
            for level in levels[1:]:
                coords: dict[str, str | None] = {**base, axis: level}
                if coords.get("routing") == "token":
                    coords["capacity"] = None
                out.append({"part": part, "arm": f"{axis}={level}", "coords": coords, "baseline": False})
    return out


def make_plan(seeds: int = 3, name: str = "toy", label: str = "") -> dict[str, Any]:
    parts = [
        {
            "name": part,
            "baseline": "baseline",
            "axes": [
                {"name": axis, "label": axis.title(), "levels": levels, "baseline": levels[0]}
                for axis, levels in axes.items()
            ],
        }
        for part, axes in PARTS.items()
    ]
    trials = []
    for number, arm in enumerate(arms()):
        for seed in range(seeds):
            trial = f"{number:04x}{seed:08x}"
            trials.append({**arm, "blocks": ["one_at_a_time"], "seed": seed, "trial": trial, "folder": trial})
    return {
        "schema": 1,
        "study": name,
        "title": "A toy",
        "label": label,
        "scale": "laptop",
        "study_file": f"studies/{name}.yaml",
        "study_text": f"study: {name}\ntask: toy\n",
        "task": "toy",
        "metrics": METRICS,
        "parts": parts,
        "trials": trials,
    }


def write_plan(store: Store, plan: dict[str, Any]) -> Path:
    folder = store.study(plan["study"] + (f"@{plan['label']}" if plan["label"] else ""))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def create(store: Store, planned: dict[str, Any]) -> TrialFolder:
    folder = store.trial(planned["folder"])
    config = {"lr": 0.1, "model": {"name": planned["arm"], "groups": [[8, 2], [1, 1]], "odd [key]": None}}
    folder.create({"schema": 1, "id": folder.id, "task": "toy", "config": config, "defaults": {}, "seed": 0})
    return folder


def start(folder: TrialFolder, at: float = START, attempt: int = 1) -> None:
    """A worker has begun an attempt."""
    attempt_folder = folder.attempt_folder(attempt - 1)
    attempt_folder.mkdir(parents=True, exist_ok=True)
    env = {"git": "abc1234", "source": "f00d", "packages": {"torch": "2.15.0"}, "gpu": "", "host": "here"}
    (attempt_folder / "env.json").write_text(json.dumps(env))
    (attempt_folder / "log.txt").write_text(f"attempt {attempt}\n")
    folder.set_state(State(status="running", attempt=attempt, started=at, heartbeat=at))


def log(folder: TrialFolder, step: int, at: float, **metrics: float) -> None:
    with open(folder.events_file, "a") as f:
        f.write(json.dumps({"t": at, "step": step, "m": {k.replace("__", "."): v for k, v in metrics.items()}}) + "\n")


def finish(folder: TrialFolder, at: float, top1: float = 90.0) -> None:
    metrics = {"best": {"top1": top1}, "last": {"top1": top1 - 1}, "gflops": 0.25}
    cost = {"seconds": 12.5, "gpu_seconds": 1800.0, "peak_memory_mb": 100.5, "params": 1234, "gflops": 0.25}
    folder.set_result({"metrics": metrics, "cost": cost})
    folder.set_state(replace(folder.state(), status="done", step=3, ended=at))


def fail(folder: TrialFolder, at: float, reason: str = "RuntimeError: no") -> None:
    folder.set_state(replace(folder.state(), status="failed", ended=at, reason=reason))


def run_trial(store: Store, planned: dict[str, Any], index: int = 0, steps: int = 3) -> TrialFolder:
    """A trial from start to done; its numbers depend on the index only."""
    folder = create(store, planned)
    at = START + 100 * index
    start(folder, at)
    for step in range(1, steps + 1):
        log(folder, step, at + step + 0.125, train__loss=1 / step, val__loss=index + 0.5 / step)
    finish(folder, at + 50, top1=80 + planned["seed"] + 0.1 * index)
    return folder


def run_all(store: Store, plan: dict[str, Any]) -> Path:
    folder = write_plan(store, plan)
    for index, planned in enumerate(plan["trials"]):
        run_trial(store, planned, index)
    return folder
