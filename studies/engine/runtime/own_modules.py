"""Import a trial's own code, and installed plugins, before its task is built. Standard library, until there is any."""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from studies.engine.core.last_collections import expect_own_code, set_imports_aside
from studies.engine.runtime import task_imports
from studies.engine.runtime.task_loader import TASK, is_packaged
from studies.engine.storage import own_snapshot

GROUP = "dynvit.plugins"
"""Entry points of installed packages that register with dynvit."""
_loaded: list[Path] = []
"""The copy that this process has imported."""


class OwnCodeError(ValueError):
    """Own code that cannot be imported; another attempt would fail as well."""

    permanent = True


def load(spec: dict[str, Any], results: Path) -> str:
    """Import what a trial's spec names, and what extends the tasks of dynvit; return the task, as `run_task` takes it.

    Raises:
        FileNotFoundError: the copy of its own code is not there.
        OwnCodeError: it cannot be imported; the text names the file and the line.
    """
    task, imports = str(spec["task"]), spec.get("imports") or []
    copy = own_snapshot.of_spec(spec, results)
    if copy is None:
        if is_packaged(task) and metadata.entry_points(group=GROUP):
            _load([], [])
        return task
    manifest = own_snapshot.manifest(copy)
    task_imports.release()
    if _loaded and _loaded[0] != copy:
        _forget(_loaded.pop())
    if not _loaded:
        sys.path[:0] = [str(copy / folder) for folder in manifest["folders"]]  # also for imports at run time
        _loaded.append(copy)
    if imports or metadata.entry_points(group=GROUP):
        entries = [str(copy / entry) if (copy / entry).is_file() else entry for entry in imports]
        _load(entries, [str(copy / folder) for folder in manifest["folders"]])
    return task if is_packaged(task) else str(copy / task)


def _load(imports: list[str], folders: list[str]) -> None:
    expect_own_code()
    try:
        plugins = import_module("dynvit.plugins")
        set_imports_aside()
        plugins.load(imports, folders)
    except ValueError as error:
        raise OwnCodeError(str(error)) from error


def _forget(copy: Path) -> None:
    """Let another version of the same modules be imported in this process."""
    inside = f"{copy}/"
    sys.path[:] = [folder for folder in sys.path if not f"{folder}/".startswith(inside)]
    for name, module in list(sys.modules.items()):
        own = str(getattr(module, "__file__", None) or "").startswith(inside)
        if own and not name.startswith(TASK):  # a task's classes look up their module, whichever copy runs
            del sys.modules[name]
