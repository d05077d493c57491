"""The MLflow runs of a trial and of a study, as pure functions of the files on disk.

A study folder is an experiment, a trial folder a run (one run even if several arms use it: tag `also` names the
others). The parent run holds every arm's mean over seeds. Of MLflow only its limits are used here.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from studies.engine.core.config import flat
from studies.engine.core.trial import Status
from studies.engine.results.readings import Reading, Row, environment
from studies.engine.storage.events import Event
from studies.engine.storage.plan_file import PlanFile, PlannedTrial
from studies.engine.storage.trial_folder import TrialFolder

KEY_LIMIT, PARAM_LIMIT, TAG_LIMIT = 250, 6000, 8000
MIN_SEEDS_FOR_INTERVAL = 3
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


class RunRecord(NamedTuple):
    """A run as it should be, without its metrics."""

    name: str
    status: str
    start: int
    """Milliseconds, as is end."""
    end: int | None
    tags: dict[str, str]
    params: dict[str, str]


class Point(NamedTuple):
    """One row of a metric's history, with MLflow's order of fields."""

    key: str
    value: float
    time: int
    """Milliseconds."""
    step: int


def trial_run(
    plan: PlanFile, arms: Sequence[PlannedTrial], got: Reading, folder: TrialFolder, parent: str
) -> RunRecord:
    """Describe a trial's run.

    arms: the planned trials that use this folder. Tag `began`: time of its first event; it changes when a trial
    restarts.
    """
    first, state, env = arms[0], got.state, environment(got.env)
    status = MLFLOW_STATUS[got.status]
    tags = {
        "kind": "trial",
        "trial_id": got.folder,
        "study": plan.study,
        "part": first.part,
        "arm": first.arm,
        "seed": str(first.seed),
        **{key: str(env[f"env.{key}"] or "") for key in ("git", "source", "gpu")},
        "attempts": str(state.attempt),
        "began": next((f"{event.time:.3f}" for event in folder.events()), ""),
        "reason": "" if got.status == "done" else state.reason,
        "also": "; ".join(f"{t.part}/{t.arm}" for t in arms[1:]),
        "mlflow.parentRunId": parent,
    }
    spec = folder.spec() or {}
    params = {"task": spec.get("task"), "seed": spec.get("seed"), **dict(flat(spec.get("config") or {}))}
    return RunRecord(
        name=f"{first.part} {first.arm} s{first.seed}",
        status=status,
        start=milliseconds(state.started),
        end=milliseconds(max(state.ended, state.heartbeat, state.started)) if status in ENDED else None,
        tags={key: truncate(text, TAG_LIMIT) for key, text in tags.items()},
        params={sanitize(key): truncate(_value(value), PARAM_LIMIT) for key, value in params.items()},
    )


def points_of(events: Sequence[Event]) -> list[Point]:
    return [Point(sanitize(k), v, milliseconds(e.time), e.step) for e in events for k, v in e.metrics.items()]


def study_run(plan: PlanFile, readings: dict[str, Reading], aggregates: str) -> RunRecord:
    """Describe the parent run. aggregates: number of points of its history, and their digest."""
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
    tags = {
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
    return RunRecord(
        name=plan.full_name,
        status=status,
        start=milliseconds(min(started, default=0.0)),
        end=milliseconds(ended) if status in ENDED else None,
        tags={key: truncate(text, TAG_LIMIT) for key, text in tags.items()},
        params={},
    )


def aggregates(plan: PlanFile, rows: Sequence[Row], readings: dict[str, Reading]) -> list[Point]:
    """Return mean, t interval and n of every arm after each finished seed (step = n), in order of time."""
    ended = {name: got.state.ended for name, got in readings.items()}
    finished = [row for row in rows if row["status"] == "done"]
    finished.sort(key=lambda row: (ended[str(row["trial"])], str(row["trial"])))
    values: dict[str, list[float]] = {}
    points = []
    for row in finished:
        for name in plan.metrics:
            if isinstance(value := row[f"metric.{name}"], float):
                key = sanitize(f"{row['part']}/{row['arm']}/{name}")
                seeds = values.setdefault(key, [])
                seeds.append(value)
                time = milliseconds(ended[str(row["trial"])])
                points += [Point(f"{key}.{what}", v, time, len(seeds)) for what, v in summary(seeds)]
    return points


def history(points: Sequence[Point]) -> str:
    """Return the number of points and their digest."""
    return f"{len(points)} {digest(points)}"


def is_prefix(known: str, points: Sequence[Point]) -> bool:
    """Whether the points go on from an earlier `history`."""
    return known == history(points[: int(known.split()[0])])


def digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def summary(values: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield mean and n; from three values on also the 95 % Student t interval."""
    yield "mean", fmean(values)
    yield "n", float(len(values))
    if len(values) >= MIN_SEEDS_FOR_INTERVAL and all(map(math.isfinite, values)):
        from scipy.special import stdtrit

        half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / math.sqrt(len(values))
        yield "ci_low", fmean(values) - half
        yield "ci_high", fmean(values) + half


# ---- names and values that MLflow accepts


def sanitize(key: str) -> str:
    """Return a key that MLflow accepts: ``recursion=1, slices=none`` becomes ``recursion:1 slices:none``. If more has
    to be replaced, a short hash keeps different keys distinct."""
    plain = re.sub(r", *", " ", key.replace("=", ":")) if ":" not in key else key
    safe = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", plain, flags=re.ASCII)).lstrip("/.")
    if safe == plain and len(safe) < KEY_LIMIT - 20:  # room for .ci_high
        return safe
    return f"{safe[: KEY_LIMIT - 30]}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"


def truncate(text: str, limit: int) -> str:
    """Return the text, or as much as fits and a note on how much is missing."""
    note = f" … ({len(text)} characters, cut)"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
