"""Load a task's file where studies are planned: what lies beside it is imported from its files as they were read.

Trials import copies, through ``sys.path``. The process that plans serves several studies, whose modules may have the
same names, outlives their edits, and may run trials itself: it has the modules of the task that was asked last.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from studies.engine.core.own_code import OwnCode
from studies.engine.runtime.task_loader import load_file, source_loader


def load(path: Path, own: OwnCode) -> ModuleType:
    """Return the module of a task's file. own: the file and what it imports. TaskError where it cannot be loaded."""
    finder = _OwnFinder(own)
    if not any(isinstance(other, _OwnFinder) and other.files == finder.files for other in sys.meta_path):
        release()
        finder.forget()
        sys.meta_path.insert(0, finder)
    return load_file(path, str(sorted(finder.files.items())))


def release() -> None:
    """Let trials import copies of what `load` has imported."""
    for finder in [finder for finder in sys.meta_path if isinstance(finder, _OwnFinder)]:
        sys.meta_path.remove(finder)
        finder.forget()


class _OwnFinder(MetaPathFinder):
    """Finds the modules of one version of own code by their names."""

    def __init__(self, own: OwnCode) -> None:
        self.files: dict[str, tuple[Path, str]] = {}
        self.folders: dict[str, Path] = {}
        for name in own.bodies if own.bodies.keys() - {own.task} else ():  # the task too, where others may import it
            above = max((folder for folder in own.folders if name.startswith(f"{folder}/")), key=len, default="")
            self._add(Path(name).relative_to(above).with_suffix("").parts, own.sources[name], own.digests[name])

    def _add(self, steps: tuple[str, ...], path: Path, digest: str) -> None:
        steps = steps[:-1] if steps[-1] == "__init__" else steps
        self.files[".".join(steps)] = path, digest
        inside = path.parents[1:] if path.stem == "__init__" else path.parents
        for count in range(1, len(steps)):
            self.folders[".".join(steps[:-count])] = inside[count - 1]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.files:
            file, _ = self.files[fullname]
            loader, inside = source_loader(fullname, file), [str(file.parent)] if file.stem == "__init__" else None
            return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=inside)
        if fullname not in self.folders:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)  # a folder without __init__.py
        spec.submodule_search_locations = [str(self.folders[fullname])]
        return spec

    def forget(self) -> None:
        for name in (*self.files, *self.folders):
            sys.modules.pop(name, None)
