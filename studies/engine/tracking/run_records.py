"""What MLflow should say of a trial and of a study, as pure functions of what lies on disk.

An experiment is a study folder. A run is a trial folder, only one where it serves several arms (its tag `also` names
the others). The parent run holds every arm's mean over seeds. Nothing here knows more of MLflow than its limits.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from studies.engine.core.config import flat
from studies.engine.core.trial import Status
from studies.engine.results.readings import Reading, Row
from studies.engine.storage.plan_file import PlanFile, PlannedTrial

KEY_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6000, 8000
INTERVAL_FROM = 3  # seeds; below, an interval would say nothing
MLFLOW_STATUS: dict[Status, str] = {
    "planned": "SCHEDULED",
    "queued": "SCHEDULED",
    "running": "RUNNING",
    "preempted": "SCHEDULED",
    "done": "FINISHED",
    "failed": "FAILED",
    "stopped": "KILLED",
    "lost": "KILLED",
}
ENDED = ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True)
class Wanted:
    """A run as it should be, its metrics apart."""

    name: str
    status: str
    start: int
    end: int | None
    tags: dict[str, str]
    params: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        told = json.dumps([self.name, self.status, self.end, self.tags, self.params], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Point:
    """One row of a metric's history."""

    key: str
    value: float
    time: int
    """Milliseconds."""
    step: int


def trial_run(plan: PlanFile, arms: Sequence[PlannedTrial], got: Reading, spec: dict[str, Any], born: str) -> Wanted:
    """arms: the planned trials this folder serves. born: when its events began, which tells a restart from scratch."""
    first, state = arms[0], got.state
    status = MLFLOW_STATUS[got.status]
    tags = {
        "kind": "trial",
        "trial_id": got.folder,
        "study": plan.study,
        "part": first.part,
        "arm": first.arm,
        "seed": str(first.seed),
        "git": _git(got.env),
        "source": str(got.env.get("source") or ""),
        "gpu": str(got.env.get("gpu") or ""),
        "attempts": str(state.attempt),
        "began": born,
        "reason": "" if got.status == "done" else state.reason,
        "also": "; ".join(f"{t.part}/{t.arm}" for t in arms[1:]),
    }
    params = {"task": spec.get("task"), "seed": spec.get("seed"), **dict(flat(spec.get("config") or {}))}
    return Wanted(
        name=f"{first.part} {first.arm} s{first.seed}",
        status=status,
        start=milliseconds(state.started),
        end=milliseconds(max(state.ended, state.heartbeat, state.started)) if status in ENDED else None,
        tags={key: cut(text, TAG_LIMIT) for key, text in tags.items()},
        params=legal_params(params),
    )


def study_run(plan: PlanFile, readings: dict[str, Reading], aggregates: str) -> Wanted:
    """The parent run. aggregates: how many points its history has, and their digest."""
    states = {got.status for got in readings.values()}
    if states & {"running", "preempted"}:
        status = "RUNNING"
    elif states & {"failed", "lost"}:
        status = "FAILED"
    elif "stopped" in states:
        status = "KILLED"
    else:
        status = "FINISHED" if states == {"done"} else "SCHEDULED"
    started = [got.state.started for got in readings.values() if got.state.started]
    ended = max((got.state.ended for got in readings.values()), default=0.0)
    told = {
        "kind": "study",
        "study": plan.study,
        "title": plan.title,
        "label": plan.label,
        "scale": plan.scale,
        "task": plan.task,
        "trials": str(len(readings)),
        "done": str(sum(got.status == "done" for got in readings.values())),
        "aggregates": aggregates,
    }
    return Wanted(
        name=plan.full_name,
        status=status,
        start=milliseconds(min(started, default=0.0)),
        end=milliseconds(ended) if status in ENDED else None,
        tags={key: cut(text, TAG_LIMIT) for key, text in told.items()},
    )


def aggregates(plan: PlanFile, rows: Sequence[Row], readings: dict[str, Reading]) -> list[Point]:
    """Mean, t interval and n of every arm as its seeds came in (step = n), in order of time."""
    ended = {name: got.state.ended for name, got in readings.items()}
    finished = [row for row in rows if row["status"] == "done"]
    finished.sort(key=lambda row: (ended[str(row["trial"])], str(row["trial"])))
    values: dict[str, list[float]] = {}
    points = []
    for row in finished:
        for name in plan.metrics:
            if isinstance(value := row[f"metric.{name}"], float):
                key = legal(f"{row['part']}/{row['arm']}/{name}")
                seeds = values.setdefault(key, [])
                seeds.append(value)
                time = milliseconds(ended[str(row["trial"])])
                points += [Point(f"{key}.{what}", v, time, len(seeds)) for what, v in summary(seeds)]
    return points


def history(points: Sequence[Point]) -> str:
    """How many points, and their digest: tells whether what is there is the beginning of what should be."""
    told = json.dumps([(p.key, p.value, p.time, p.step) for p in points])
    return f"{len(points)} {hashlib.sha256(told.encode()).hexdigest()[:16]}"


def summary(values: Sequence[float]) -> Iterator[tuple[str, float]]:
    """mean and n; from three values on the 95 % Student t interval."""
    yield "mean", fmean(values)
    yield "n", float(len(values))
    if len(values) >= INTERVAL_FROM and all(map(math.isfinite, values)):
        from scipy.special import stdtrit

        half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
        yield "ci_low", fmean(values) - half
        yield "ci_high", fmean(values) + half


# ---- names and values that MLflow takes


def legal(key: str) -> str:
    """A key as MLflow allows it: ``recursion=1, slices=none`` reads ``recursion:1 slices:none``. Where more than that
    has to go, a few characters of a hash keep different keys apart."""
    plain = re.sub(r", *", " ", key.replace("=", ":")) if ":" not in key else key
    safe = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", plain, flags=re.ASCII)).lstrip("/.")
    if safe == plain and len(safe) < KEY_LIMIT - 20:  # room for .ci_high
        return safe
    return f"{safe[: KEY_LIMIT - 30]}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"


def legal_params(config: dict[str, Any]) -> dict[str, str]:
    return {legal(key): cut(_value(value), PARAM_LIMIT) for key, value in config.items()}


def cut(text: str, limit: int) -> str:
    """The text, or as much of it as fits and a word on how much is missing."""
    note = f" … ({len(text)} characters, cut)"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _git(env: dict[str, Any]) -> str:
    git = env.get("git")
    if isinstance(git, dict):
        return f"{git.get('sha') or ''}{'+' if git.get('dirty') else ''}"
    return str(git or "")
