"""The MLflow runs of a study, its arms and its trials, as pure functions of the files on disk.

A study folder is an experiment, a trial folder a run (one run even if several arms use it: tag `also` names the
others). An arm with several seeds has a run with the means over them, the parent of its trials' runs. The study's own
run holds tables and figures; it is nobody's parent, as the UI would hide all others below it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from studies.engine.core.config import flat
from studies.engine.core.trial import Status
from studies.engine.results.bundle.checklist import options
from studies.engine.results.readings import Reading, environment
from studies.engine.storage.plan_file import PlanFile, PlannedTrial
from studies.engine.storage.trial_folder import TrialFolder
from studies.engine.tracking.names import milliseconds, to_params, to_tags
from studies.engine.tracking.points import Point, final_points
from studies.engine.tracking.used_data import DataSet, data_set
from studies.engine.tracking.weights import Weights, weights

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
OPTIONAL_TAGS = ("reason", "also", "mlflow.source.git.dirty", "mlflow.parentRunId", "attempts")
"""Tags that a run may lose again, or has from an earlier version."""


class RunRecord(NamedTuple):
    """A run as it should be, without its curves."""

    name: str
    status: str
    start: int
    """Milliseconds, as is end."""
    end: int | None
    tags: dict[str, str]
    params: dict[str, str]
    finals: list[Point]
    data: DataSet | None = None
    weights: Weights | None = None


def arm_key(trial: PlannedTrial) -> str:
    """Return what stands for an arm where runs go by their trial's id, which has no slash."""
    return f"{trial.part}/{trial.arm}"


def trial_run(
    plan: PlanFile,
    arms: Sequence[PlannedTrial],
    got: Reading,
    last_step: int,
    folder: TrialFolder,
    parent: str,
    stale: bool,
) -> RunRecord:
    """Describe a trial's run.

    parent: id of its arm's, where that has one. arms: the planned trials that use this folder. got: with the last value
    of every curve, where it is done. last_step: of the curves. stale: what it ran with has changed since. Tag `began`:
    time of its first event; it changes when a trial restarts.
    """
    first, state, env = arms[0], got.state, environment(got.env)
    status, git, source = MLFLOW_STATUS[got.status], str(env["env.git"] or ""), str(env["env.source"] or "")
    spec = folder.spec() or {}
    config = spec.get("config") or {}
    tags = {
        "kind": "trial",
        "trial_id": got.folder,
        "study": plan.study,
        "part": first.part,
        "arm": first.arm,
        "seed": str(first.seed),
        "attempt": str(state.attempt),
        "git": git,
        "source": source,
        "gpu": str(env["env.gpu"] or ""),
        "began": next((f"{event.time:.3f}" for event in folder.events()), ""),
        "reason": "" if got.status == "done" else state.reason,
        "also": "; ".join(f"{t.part}/{t.arm}" for t in arms[1:]),
        "stale": str(stale).lower(),
        "removed": "false",
        "mlflow.parentRunId": parent,
        "mlflow.user": _owner(folder.path),
        "mlflow.source.git.commit": git.rstrip("+"),
        "mlflow.source.git.dirty": "true" if git.endswith("+") else "",
        **_command(plan),
    }
    axes = {f"axis.{axis}": level for axis, level in first.coords.items() if level is not None}
    return RunRecord(
        name=f"{_arm_name(plan, first)} s{first.seed}",
        status=status,
        start=milliseconds(state.started),
        end=milliseconds(max(state.ended, state.heartbeat, state.started)) if status in ENDED else None,
        tags=to_tags(tags),
        params=to_params({"task": spec.get("task"), "seed": spec.get("seed"), **axes, **dict(flat(config))}),
        finals=final_points(plan, got, last_step),
        data=data_set(config, got.env),
        weights=weights(folder, got.result, config, {**_command(plan), "mlflow.user": _owner(folder.path)}),
    )


def arm_run(
    plan: PlanFile, arm: PlannedTrial, readings: Mapping[str, Reading], history: str, folder: Path
) -> RunRecord:
    """Describe the run of an arm with several seeds. readings: of its trials. history: of its means."""
    tags = {
        "kind": "arm",
        "study": plan.study,
        "part": arm.part,
        "arm": arm.arm,
        "baseline": "true" if arm.baseline else "",
        "aggregates": history,
    }
    axes = {f"axis.{axis}": level for axis, level in arm.coords.items() if level is not None}
    return _group(plan, _arm_name(plan, arm), readings.values(), folder, tags)._replace(params=to_params(axes))


def study_run(plan: PlanFile, readings: Mapping[str, Reading]) -> RunRecord:
    """Describe the study's own run."""
    tags = {
        "kind": "study",
        "study": plan.study,
        "title": plan.title,
        "label": plan.label,
        "scale": plan.scale,
        "task": plan.task,
        "trials": str(len(readings)),
        "done": str(sum(got.status == "done" for got in readings.values())),
        "mlflow.note.content": description(plan),
    }
    return _group(plan, plan.full_name, readings.values(), plan.folder, tags)


def description(plan: PlanFile) -> str:
    """Return the study's title and the comment at the top of its file, as Markdown."""
    lines = [line for line in plan.study_text.splitlines() if not line.startswith("# yaml-language-server:")]
    top = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:top])
    return plan.title + (f"\n\n```\n{comment}\n```" if comment.strip() else "")


def _group(plan: PlanFile, name: str, got: Iterable[Reading], folder: Path, tags: dict[str, str]) -> RunRecord:
    """Describe a run over several trials: from the first one's start to the last one's end."""
    readings = list(got)
    states = {reading.status for reading in readings}
    if states & {"running", "preempted"}:
        status = "RUNNING"
    elif states & {"failed", "lost"}:
        status = "FAILED"
    elif "stopped" in states:
        status = "KILLED"
    else:
        status = "FINISHED" if states == {"done"} else "SCHEDULED"
    started = [reading.state.started for reading in readings if reading.state.started]
    ended = max((reading.state.ended for reading in readings), default=0.0)
    return RunRecord(
        name=name,
        status=status,
        start=milliseconds(min(started, default=0.0)),
        end=milliseconds(ended) if status in ENDED else None,
        tags=to_tags({**tags, "mlflow.user": _owner(folder), **_command(plan)}),
        params={},
        finals=[],
    )


def _arm_name(plan: PlanFile, arm: PlannedTrial) -> str:
    return arm.arm if len(plan.parts) == 1 else f"{arm.part} {arm.arm}"


def _command(plan: PlanFile) -> dict[str, str]:
    """Return the tags of the command that runs the study. MLflow shows what follows a slash only."""
    file = Path(plan.study_file)
    study = plan.study if file.parent.name == "studies" else file.name
    return {"mlflow.source.type": "LOCAL", "mlflow.source.name": f"studies run {study}{options(plan)}"}


def _owner(folder: Path) -> str:
    with contextlib.suppress(OSError, KeyError):
        return folder.owner()
    return ""
