"""Check the data sets of a study, each once, with the task's own `inspect(config)`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from studies.engine.core.trial import Config
from studies.engine.core.typing_check import to_yaml
from studies.engine.diagnostics.doctor import Finding

if TYPE_CHECKING:
    from studies.engine.catalog.tasks import Task
    from studies.engine.planning.plan import Plan

IGNORED = ("augment", "limit", "val_limit", "in_memory")
"""Keys of `data` that do not change which files are read."""


def check(plan: Plan) -> Iterator[Finding]:
    """Findings for every data set that a trial of the plan reads. A task of dynvit is asked in a child process."""
    task = plan.study.task
    if "inspect" not in task.offers:
        yield Finding("data", "note", f"the task {task.name} offers no check of its data")
        return
    seen = set()
    for trial in plan.selected:
        for config, first in _readers(trial.config):
            data = config.get("data", {})
            key = to_yaml({name: value for name, value in data.items() if name not in IGNORED})
            if key in seen:
                continue
            seen.add(key)
            yield Finding("data", "fine", f"{_name(data)}, as {trial.arm.part} {trial.arm.label} reads it{first}")
            yield from _inspected(task, config)


def _inspected(task: Task, config: Config) -> Iterator[Finding]:
    """Yield what the task finds; that its check fails is a finding too, and the other sets are still looked at."""
    try:
        for level, text, remedy in task.inspect(config):
            yield Finding("data", level, text, remedy)
    except (Exception, SystemExit) as error:
        text = getattr(error, "text", "") or f"{type(error).__name__}: {error}"
        yield Finding("data", "attention", f"the check of {task.name} fails: {text}")


def _readers(config: Config) -> Iterator[tuple[Config, str]]:
    """Yield the config, preceded by that of its source data set if it trains on one first."""
    source = config.get("source", {})
    if source.get("epochs"):
        yield {**{key: value for key, value in config.items() if key != "source"}, "data": source["data"]}, " first"
    yield config, ""


def _name(data: dict[str, Any]) -> str:
    texts = [str(data.get("name", "data"))]
    texts += [f"{key} {data[key]}" for key in ("root", "repository", "labels", "image_size") if data.get(key)]
    return ", ".join(texts)
