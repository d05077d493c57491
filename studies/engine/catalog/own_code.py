"""From `imports:` of a study file to the files that they need. Nothing is imported here: imports are read.

A file ends in .py or contains "/", and lies relative to the study file; any other entry is a module, beside the study
or installed. With each file come the modules of its own folder that it imports, and with a package all its files.
Installed packages are copied only where they are not in site-packages, as with ``pip install -e``.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from studies.engine.catalog.hidden_packages import OURS, hidden_by, hides, hides_ours
from studies.engine.core.errors import shown
from studies.engine.core.own_code import OwnCode
from studies.engine.core.suggest import suggest
from studies.engine.runtime.own_modules import GROUP

ELSEWHERE = "_modules"
"""Folder of the copy for modules that are not beside the study."""
NO_PYTHON = " is not a Python file: its name does not end in .py"
UP = "_up"
"""Stands in the copy for the folder above."""


class ImportProblem(ValueError):
    """An entry of `imports:` that cannot be followed."""


def find(imports: tuple[str, ...], folder: Path, problems: dict[int, str]) -> OwnCode | None:
    """Return the code of these entries and of installed plugins; None where there is neither.

    folder: of the study file. problems: filled with what is wrong, by the index of the entry.
    """
    found, names = _Files(folder.resolve()), []
    for index, entry in enumerate(imports):
        try:
            if entry in imports[:index]:
                raise ImportProblem(f"{entry} twice")
            names.append(found.add_file(entry) if is_file(entry) else found.add_module(entry))
            found.refuse_hiding()
        except ImportProblem as error:
            problems[index] = str(error)
    for point in metadata.entry_points(group=GROUP):
        found.add_plugin(point)
    if not names and not found.installed and not found.bodies:
        return None
    return OwnCode(tuple(names), found.bodies, found.sources, found.folders, found.installed)


def with_task(own: OwnCode | None, task: Path, folder: Path) -> OwnCode:
    """Return own code with a task's file, and what that imports: all of it is copied, and registers nothing.

    folder: of the study file. ImportProblem where a file cannot be read as Python, or hides a package.
    """
    known, found = own or OwnCode((), {}, {}, {}), _Files(folder.resolve())
    found.bodies, found.sources = {**known.bodies}, {**known.sources}
    found.folders, found.installed = {**known.folders}, {**known.installed}
    name = found.add_file(str(task))
    alone = found.bodies.keys() <= {name, *known.bodies}
    if not alone:
        found.refuse_hiding()
    folders = known.folders if alone else found.folders  # a task alone is loaded by its path, whatever its name
    return OwnCode(known.imports, found.bodies, found.sources, folders, found.installed, name)


def is_file(entry: str) -> bool:
    return entry.endswith(".py") or "/" in entry


class _Files:
    """Files that were found, each read once. base: the folder in which a module is found by its name."""

    def __init__(self, study: Path) -> None:
        self._study = study
        self.bodies: dict[str, bytes] = {}
        self.sources: dict[str, Path] = {}
        self.folders: dict[str, Path] = {}
        self.installed: dict[str, str] = {}

    def add_file(self, entry: str) -> str:
        """Return its path in the copy. ImportProblem where it is no file of Python code."""
        path = Path(os.path.normpath(self._study / os.path.expanduser(entry)))
        if path.is_dir():
            raise ImportProblem(f"{entry} is a folder; a package in it is imported by its name, without .py")
        if not path.is_file():
            known = [file.name for file in sorted(path.parent.glob("*.py"))]
            place = f"no file {shown(path)}" if os.path.isabs(entry) else f"no file {entry} in {shown(self._study)}"
            raise ImportProblem(f"{place}{suggest(path.name, known)}")
        if path.suffix != ".py":
            raise ImportProblem(f"{entry}{NO_PYTHON}")
        if path.stem in OURS:
            raise ImportProblem(hides(path))
        return self._add(path, path.parent)

    def add_module(self, entry: str) -> str:
        """Return its name. ImportProblem where there is none."""
        if (self._study / entry).is_file():
            raise ImportProblem(f"{entry}{NO_PYTHON}")
        steps = entry.split(".")
        if not all(step.isidentifier() for step in steps):
            raise ImportProblem(f"{entry} is neither a file, which ends in .py, nor the name of a module")
        if not self._beside(steps, self._study) and not self._elsewhere(steps, named=True):
            known = [file.stem for file in self._study.glob("*.py")]
            known += [file.parent.name for file in self._study.glob("*/__init__.py")]
            nearest = suggest(entry, known) or "; a file ends in .py"
            raise ImportProblem(f"no module {entry}, neither in {shown(self._study)} nor installed{nearest}")
        if (place := self._missing(steps)) is not None:
            raise ImportProblem(f"no module {entry}: {shown(place)} has no {steps[-1]}")
        return entry

    def add_plugin(self, point: metadata.EntryPoint) -> None:
        """Add the package of an entry point of an installed distribution."""
        distribution = point.dist
        if not self._elsewhere(point.value.partition(":")[0].split(".")) and distribution is not None:
            self.installed[distribution.name] = distribution.version

    def refuse_hiding(self) -> None:
        """ImportProblem where a folder that is searched for own modules has one of the name of a package."""
        for place, folder in self.folders.items():
            if not place.startswith(ELSEWHERE) and (text := hidden_by(folder)):
                raise ImportProblem(text)

    # ---- from a name to files

    def _missing(self, steps: list[str]) -> Path | None:
        """Return the folder that lacks the last step of a dotted name, if its package is one that is copied."""
        for base in self.folders.values():
            package = base.joinpath(*steps[:-1])
            if len(steps) > 1 and (base / steps[0]).is_dir() and package.is_dir():
                there = (package / steps[-1]).is_dir() or any(package.glob(f"{steps[-1]}.*"))
                return None if there else package
        return None

    def _beside(self, steps: list[str], base: Path) -> bool:
        """Add the module of a dotted name that lies in a folder; whether there is one."""
        place, found = base, False
        for step in steps:
            if (place / step / "__init__.py").is_file():  # as Python does, before a file of that name
                self._add_package(place / step, base)
                self._along(steps, base)
                return True
            if (place / f"{step}.py").is_file():
                self._add(place / f"{step}.py", base)
                return True
            place = place / step
            for file in sorted(place.glob("*.py")):  # a folder without __init__.py may be a package, too
                self._add(file, base)
                found = True
        return found

    def _along(self, steps: Sequence[str], base: Path, place: str | None = None) -> None:
        """Add the folders without __init__.py on the way of a dotted name: Python imports from them as well."""
        for folder in (base.joinpath(*steps[:end]) for end in range(1, len(steps) + 1)):
            if folder.is_dir() and not (folder / "__init__.py").is_file():
                for file in sorted(folder.glob("*.py")):
                    self._add(file, base, place)

    def _elsewhere(self, steps: list[str], named: bool = False) -> bool:
        """Add an installed package unless it is in site-packages. named: as an entry, so that its version counts."""
        top = steps[0]
        try:
            spec = find_spec(top)
        except (ImportError, ValueError, AttributeError):
            return False
        if spec is None:
            return False
        origin = Path(spec.origin or "")
        if spec.origin in (None, "built-in", "frozen") or {"site-packages", "dist-packages"} & set(origin.parts):
            if named:
                self.installed[top] = _version(top)
            return named
        if origin.suffix == ".py" and not origin.is_relative_to(Path(os.__file__).parent):
            if spec.submodule_search_locations is None:
                self._add(origin, origin.parent, f"{ELSEWHERE}/{top}")
            else:
                self._add_package(origin.parent, origin.parent.parent, f"{ELSEWHERE}/{top}")
                self._along(steps, origin.parent.parent, f"{ELSEWHERE}/{top}")
        return True

    def _add_package(self, package: Path, base: Path, place: str | None = None) -> None:
        for folder, inner, files in os.walk(package):
            inner[:] = sorted(name for name in inner if Path(folder, name, "__init__.py").is_file())
            for name in sorted(files):
                if name.endswith(".py"):
                    self._add(Path(folder, name), base, place)

    def _add(self, path: Path, base: Path, place: str | None = None) -> str:
        """Add a file and what it imports; return its path in the copy."""
        folder = self._place(base) if place is None else place
        name = "/".join(filter(None, [folder, path.relative_to(base).as_posix()]))
        if name in self.bodies:
            return name
        try:
            self.bodies[name] = body = path.read_bytes()
            tree = ast.parse(body, str(path))
        except OSError as error:
            raise ImportProblem(f"{shown(path)} cannot be read: {error.strerror}") from error
        except (SyntaxError, ValueError) as error:
            line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            text = error.msg if isinstance(error, SyntaxError) else str(error)
            raise ImportProblem(f"{shown(path)}{line}: {text}") from error
        self.sources[name] = path
        self.folders[folder] = base
        for steps in _imported(tree):
            if text := hides_ours(base, steps[0]):
                raise ImportProblem(text)
            if steps[0] in sys.stdlib_module_names or steps[0] in OURS:
                continue
            if not any(self._beside(steps, near) for near in dict.fromkeys((base, self._study))):
                self._elsewhere(steps)
        for steps in _relative(tree, path.relative_to(base).parent.parts):
            self._along(steps, base, place)
        return name

    def _place(self, base: Path) -> str:
        steps = Path(os.path.relpath(base, self._study)).parts
        return "/".join(UP if step == ".." else step for step in steps)


def _imported(tree: ast.Module) -> Iterator[list[str]]:
    """Yield the dotted names of all absolute imports, also inside functions; those of a package are in it anyway."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ([*node.module.split("."), alias.name] for alias in node.names)


def _relative(tree: ast.Module, package: Sequence[str]) -> Iterator[list[str]]:
    """Yield the dotted names of imports such as ``from .parts import block`` in a file of a package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(package):
            above = package[: len(package) - node.level + 1]
            yield from ([*above, *(node.module or "").split("."), alias.name] for alias in node.names)


def _version(top: str) -> str:
    names = metadata.packages_distributions().get(top)
    return metadata.version(names[0]) if names else "unknown"
