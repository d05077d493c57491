"""What a task says about whole configs: asked here only, and for all arms of a command at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from studies.engine.catalog.tasks import Task
from studies.engine.core.trial import Config
from studies.engine.core.typing_check import fields
from studies.engine.runtime.task_loader import build


def check_configs(task: Task, configs: Sequence[Config]) -> list[str | None]:
    """Return for each config, whose settings are all valid, the rule of the task (`__post_init__`) that it violates."""
    if not _has_rules(task.config):
        return [None] * len(configs)
    return [_violation(task, config) for config in configs]


def smoke_settings(task: Task, configs: Sequence[Config]) -> list[Mapping[str, Any]]:
    """Return for each config what `--smoke` sets in it besides the task's SMOKE."""
    return [task.smaller(config) for config in configs]


def _violation(task: Task, config: Config) -> str | None:
    try:
        build(task.config, config)
    except ValueError as error:
        return str(error)
    return None


def _has_rules(config: Any) -> bool:
    """Return whether a config class or one inside it has rules of its own; else there is nothing to build for."""
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        return False
    return hasattr(config, "__post_init__") or any(_has_rules(kind) for _, kind in fields(config).values())
