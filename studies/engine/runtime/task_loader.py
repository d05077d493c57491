"""Load a task for running: ``dynvit.tasks.<name>`` by import, a user's task file by its path. Standard library only."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from studies.engine.core.typing_check import Issue, validate

TASK = "studies_task_"
"""Begins the names of modules of task files."""


class TaskError(ValueError):
    """The task file is missing, cannot be loaded, or lacks what a task needs."""


def run_task(ref: str, config: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Import the task (and with it torch, where it needs torch), build its config and run it.

    ref: a task's name or the path of its file, as in spec.json.
    """
    module = import_module(f"dynvit.tasks.{ref}") if is_packaged(ref) else load_file(Path(ref))
    result: dict[str, Any] = module.run(build(module.Config, config), context)
    return result


def build(config: type, values: Mapping[str, Any]) -> Any:
    """Return an instance of a task's Config; ValueError names every key that does not fit."""
    found: list[Issue] = []
    built = validate(config, values, found)
    if found:
        raise ValueError("; ".join(".".join(map(str, m.path)) + ": " * bool(m.path) + m.text for m in found))
    return built


def is_packaged(ref: str) -> bool:
    """Whether a task reference is a name in dynvit.tasks, not the path of a file."""
    return not ref.endswith(".py") and "/" not in ref


def load_file(path: Path, imports: str = "") -> ModuleType:
    """Return the module in that file; TaskError where it cannot be loaded.

    An edited file is a new module, and so is one whose `imports` is another version of what it imports.
    """
    if not path.is_file():
        raise TaskError(f"no task file {path}")
    # by content: two edits within one tick of the file system's clock are still two versions
    return _load(path, hashlib.sha256(path.read_bytes()).hexdigest() + imports)


def source_loader(name: str, path: Path) -> SourceFileLoader:
    """Return what loads a module from its source, never from a compiled copy."""
    return _Source(name, str(path))


class _Source(SourceFileLoader):
    """Ignores compiled copies, which Python trusts by whole seconds and size."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


@lru_cache(maxsize=32)
def _load(path: Path, version: str) -> ModuleType:
    """Import the file under a unique name; `version` makes an edited file a new module."""
    name = f"{TASK}{path.stem}_{abs(hash((path, version))):x}"
    spec = spec_from_file_location(name, path, loader=source_loader(name, path))
    if spec is None or spec.loader is None:
        raise TaskError(f"{path} is not a Python file")
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise TaskError(f"{path} cannot be loaded: {type(error).__name__}: {error}{_where(error, path)}") from error
    return module


def _where(error: BaseException, task: Path) -> str:
    """Return where the error was raised, if that is in a file beside the task."""
    near = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == task.parent]
    elsewhere = bool(near) and Path(near[-1].filename) != task
    return f" ({near[-1].filename} line {near[-1].lineno})" if elsewhere else ""
