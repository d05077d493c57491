"""What a task's file of the user's must have, and where an error in it was raised."""

from __future__ import annotations

import dataclasses
import traceback
from pathlib import Path
from types import ModuleType

from studies.engine.core.typing_check import Issue, to_json, validate
from studies.engine.runtime.task_loader import TaskError, build


def checked(module: ModuleType, path: Path) -> ModuleType:
    """Return the module of a task's file; TaskError for one that lacks what a task needs."""
    config, run = getattr(module, "Config", None), getattr(module, "run", None)
    revision, smoke = getattr(module, "REVISION", None), getattr(module, "SMOKE", None)
    if not (isinstance(config, type) and dataclasses.is_dataclass(config)):
        raise TaskError(f"{path} defines no dataclass Config")
    if not callable(run) or not isinstance(revision, int) or not isinstance(smoke, dict):
        raise TaskError(f"{path} must define run(config, context), REVISION (a whole number) and SMOKE (a dict)")
    wrong: list[Issue] = []
    validate(dict[str, tuple[str, ...]], getattr(module, "METRICS", {}), wrong)
    if wrong:
        raise TaskError(f"{path}: METRICS has names by place (result, best, last, events): {wrong[0].text}")
    validate(dict[str, dict[str, str]], getattr(module, "HEADLINE", {}), wrong)
    if wrong:
        raise TaskError(f"{path}: HEADLINE has `from`, `direction` and `unit` by metric: {wrong[0].text}")
    try:
        to_json(build(config, to_json(config())))
    except (Exception, SystemExit) as error:
        raise TaskError(f"{path} has no valid default Config: {type(error).__name__}: {error}") from error
    return module


def raised_in(error: BaseException) -> str:
    """Return file, line and function of user's code in which an error was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name} line {frame.lineno}, {frame.name}"
