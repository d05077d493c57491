"""Read trial folders into the rows of the frame (one per planned trial) and the curves. Depends on files only."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from studies.engine.core.trial import State, Status
from studies.engine.storage.events import Event
from studies.engine.storage.plan_file import PlanFile, PlannedMetric, PlannedTrial
from studies.engine.storage.results_dir import Store
from studies.engine.storage.trial_folder import TrialFolder

Cell = str | bool | int | float | None
Row = dict[str, Cell]


@dataclass(frozen=True)
class Reading:
    """What the frame takes from one trial folder."""

    folder: str
    state: State
    status: Status
    result: dict[str, Any]
    """Empty unless the trial is done: a number of a half-trained model must never enter a mean."""
    env: dict[str, Any]
    latest: dict[str, float] = field(default_factory=dict)
    """The last logged value of every event key."""


@dataclass
class Curves:
    """The columns of curves.parquet; trial and metric are indices into their names."""

    trials: list[str] = field(default_factory=list)
    metrics: dict[str, int] = field(default_factory=dict)
    trial: array[int] = field(default_factory=lambda: array("i"))
    metric: array[int] = field(default_factory=lambda: array("i"))
    step: array[int] = field(default_factory=lambda: array("q"))
    value: array[float] = field(default_factory=lambda: array("d"))

    def add(self, trial: str, events: Iterable[Event]) -> dict[str, float]:
        """Add a trial's events, once per (metric, step): the last one written counts. Return each metric's value at the
        largest step."""
        columns: dict[str, tuple[array[int], array[float]]] = {}
        for event in events:
            for name, value in event.metrics.items():
                if name not in columns:
                    columns[name] = array("q"), array("d")
                    self.metrics.setdefault(name, len(self.metrics))
                columns[name][0].append(event.step)
                columns[name][1].append(value)
        latest = {}
        for name in sorted(columns, key=self.metrics.__getitem__):
            steps, values = _by_step(*columns.pop(name))
            self.trial.extend(array("i", [len(self.trials)]) * len(steps))
            self.metric.extend(array("i", [self.metrics[name]]) * len(steps))
            self.step.extend(steps)
            self.value.extend(values)
            latest[name] = values[-1]
        self.trials.append(trial)
        return latest


def _by_step(steps: array[int], values: array[float]) -> tuple[array[int], array[float]]:
    """Return them sorted, once per step; nearly always they are already."""
    if not any(map(operator.ge, steps, islice(steps, 1, None))):
        return steps, values
    points = dict(zip(steps, values, strict=True))
    order = sorted(points)
    return array("q", order), array("d", map(points.__getitem__, order))


def read_all(store: Store, plan: PlanFile, curves: Curves | None = None) -> dict[str, Reading]:
    """Read the planned trials' folders, each once; by folder id, in the order of the frame."""
    folders = dict.fromkeys(trial.folder for trial in ordered(plan))
    return {name: read(store.trial(name), plan, curves) for name in folders}


def read(folder: TrialFolder, plan: PlanFile, curves: Curves | None = None) -> Reading:
    """Read one trial folder; curves: also add its events to them."""
    state, result = folder.state_and_result()
    latest: dict[str, float] = {}
    if curves is not None or any(_event_key(metric) for metric in plan.metrics.values()):
        latest = (curves or Curves()).add(folder.id, folder.events())
    return Reading(folder.id, state, state.status, result or {}, folder.environment(state.attempt), latest)


def ordered(plan: PlanFile) -> list[PlannedTrial]:
    """Sort trials by the plan's order of parts and arms, then as looks take seeds: the study's, then further ones."""
    parts = {part.name: i for i, part in enumerate(plan.parts)}
    arms: dict[tuple[str, str], int] = {}
    further = set(plan.further_seeds)
    for t in plan.trials:
        arms.setdefault((t.part, t.arm), len(arms))
    places = {key: (parts.get(key[0], len(parts)), arm) for key, arm in arms.items()}
    return sorted(plan.trials, key=lambda t: (*places[t.part, t.arm], t.seed in further, t.seed))


def rows(plan: PlanFile, readings: dict[str, Reading]) -> list[Row]:
    """Return one row per planned trial; metrics only of finished ones."""
    axes = list(dict.fromkeys(axis.name for part in plan.parts for axis in part.axes))
    found = [_row(plan, axes, trial, readings[trial.folder]) for trial in ordered(plan)]
    if all(row["env.own"] is None for row in found):  # no study without own code has the column
        for row in found:
            del row["env.own"]
    return found


def _row(plan: PlanFile, axes: list[str], trial: PlannedTrial, got: Reading) -> Row:
    cost = got.result.get("cost") or {}
    seconds = _number(cost.get("gpu_seconds"))
    return {
        "study": plan.study,
        "part": trial.part,
        "trial": trial.folder,
        "arm": trial.arm,
        "baseline": trial.baseline,
        "seed": trial.seed,
        "status": got.status,
        "attempts": got.state.attempt,
        **{f"axis.{axis}": trial.coords.get(axis) for axis in axes},
        **{f"metric.{name}": value(name, metric, got) for name, metric in plan.metrics.items()},
        "cost.seconds": _number(cost.get("seconds")),
        "cost.gpu_hours": None if seconds is None else seconds / 3600,
        "cost.peak_memory_mb": _number(cost.get("peak_memory_mb")),
        "model.params": _integer(cost.get("params")),
        "model.gflops": _number(cost.get("gflops")),
        **environment(got.env),
        "env.own": (got.env.get("own") or {}).get("fingerprint"),
        "started": _moment(got.state.started),
        "ended": _moment(got.state.ended),
    }


def value(name: str, metric: PlannedMetric, got: Reading) -> float | None:
    """Return a declared metric of a finished trial: from the result, or the last value of an event key."""
    if got.status != "done":
        return None
    if key := _event_key(metric):
        return got.latest.get(key)
    found = got.result.get("metrics") or {}
    if metric.source is not None:
        found = found.get(metric.source) or {}
    return _number(found.get(name))


def result_values(folder: TrialFolder, plan: PlanFile) -> dict[str, float]:
    """Return the declared metrics of a finished trial: the numbers that the tables show."""
    got = read(folder, plan)
    found = {name: value(name, metric, got) for name, metric in plan.metrics.items()}
    return {name: number for name, number in found.items() if number is not None}


def is_from_events(metric: PlannedMetric) -> bool:
    return _event_key(metric) is not None


def _event_key(metric: PlannedMetric) -> str | None:
    return None if metric.source in (None, "best", "last") else metric.source


def environment(env: dict[str, Any]) -> Row:
    """Return the env.* columns of an env.json; missing ones stay empty."""
    packages = env.get("packages") or {}
    git = env.get("git")
    if isinstance(git, dict):
        git = f"{git.get('sha') or ''}{'+' if git.get('dirty') else ''}"
    found = {"git": git, "source": env.get("source"), "gpu": env.get("gpu"), "torch": packages.get("torch")}
    return {f"env.{key}": str(value) if value else None for key, value in found.items()}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _moment(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None
