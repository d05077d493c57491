"""Importing own files and modules: what they bring along, and where an error in them stands."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import chain, count
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = ("dynvit", "studies", "paper_tables")
INSTALLED = ("site-packages", "dist-packages")
ENDS = 'ends the program when it is imported (argparse, sys.exit): put that under `if __name__ == "__main__":`'


class PluginError(ValueError):
    """Own code cannot be loaded: the entry, the line of the user's file, and the error."""


def is_file(entry: str) -> bool:
    """Whether an import is the path of a file and not the name of a module."""
    return entry.endswith(".py") or "/" in entry


def import_entry(entry: str) -> None:
    """Import a file, by its path, or a module. Raises whatever its code raises."""
    if not is_file(entry):
        importlib.import_module(entry)
        return
    path = Path(entry).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    name = module_name(path)
    if name in sys.modules:  # another of the files has imported it
        return
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file: its name must end in .py")
    module = sys.modules[name] = module_from_spec(spec)  # before it runs: timm and dataclasses look there
    spec.loader.exec_module(module)


def module_name(path: Path) -> str:
    """Return the name under which a file is imported: its own, by which files beside it import it too, unless another
    module has that."""
    own = [] if path.stem in sys.stdlib_module_names or not path.stem.isidentifier() else [path.stem]
    further = (f"own{number}_{path.stem}" for number in count(2))
    return next(
        name
        for name in chain(own, [f"own_{path.stem}"], further)
        if (loaded := sys.modules.get(name)) is None or file_of(loaded) == path
    )


def file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if isinstance(file, str) else None


def roots(entries: Sequence[str]) -> list[Path]:
    """Return the folders, or files, that own code lies in: the folders of files, and those of modules' packages."""
    found: dict[Path, None] = {}
    for entry in entries:
        if is_file(entry):
            found[Path(entry).expanduser().absolute().parent] = None
            continue
        try:
            spec = find_spec(entry.split(".")[0])
        except (ImportError, ValueError):
            spec = None
        for place in (spec.submodule_search_locations or [spec.origin or ""]) if spec else ():
            found[Path(place).absolute()] = None
    return list(found)


def own_modules(names: set[str], places: Sequence[Path]) -> dict[str, ModuleType]:
    """Return those of the imported modules that are own code, not something installed that it uses."""
    found = {}
    for name in names:
        module, top = sys.modules.get(name), name.split(".")[0]
        path = file_of(module) if module is not None else None
        if module is None or path is None or top in OURS or top in sys.stdlib_module_names:
            continue  # Python's own may lie below a home folder as well
        if _inside(path, places):
            found[name] = module
    return found


def _inside(path: Path, places: Sequence[Path]) -> bool:
    below = [path.relative_to(place).parts for place in places if path.is_relative_to(place)]
    return any(not {*parts} & {*INSTALLED} for parts in below)


def digests(paths: Iterator[Path | None]) -> dict[Path, str]:
    """Return a digest of each file's content; empty for one that is gone."""
    found = {}
    for path in filter(None, paths):
        try:
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            found[path] = ""
    return found


@contextmanager
def searching(folders: Sequence[Path]) -> Iterator[None]:
    """Look for modules in these folders first, and leave no compiled copies there: Python trusts them by whole seconds
    and size, so that an edit may go unseen."""
    before, written = list(sys.path), sys.dont_write_bytecode
    sys.path[:0] = [str(folder) for folder in folders if folder.is_dir()]
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:], sys.dont_write_bytecode = before, written


def explained(entry: str, error: BaseException, places: Sequence[Path]) -> PluginError:
    """Return the error as a sentence that begins with the entry, and the file and line in which own code failed."""
    where = _place(error, places)
    file = Path(entry).expanduser().absolute() if is_file(entry) else None
    if where is not None:
        path, line = where
        entry += f", line {line}" if path == file else f", in {path}, line {line}"
    if isinstance(error, SystemExit):
        return PluginError(f"{entry}: {ENDS}")
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    text = f"{kind}{error.msg}" if isinstance(error, SyntaxError) else f"{kind}{error}"
    return PluginError(f"{entry}: {text}")


def defined_at(thing: Any) -> str:
    """Return the file and line where a function or class of own code begins; its name where that is not known."""
    code = getattr(inspect.unwrap(thing), "__code__", None)
    try:
        line = code.co_firstlineno if code is not None else inspect.getsourcelines(thing)[1]
        return f"{Path(inspect.getsourcefile(thing) or '').name}, line {line}"
    except (OSError, TypeError):
        return f"{thing.__module__}.{thing.__qualname__}"


def blame(function: Any, error: BaseException) -> str:
    """Return the file and line in which own code failed, where that is known, and the error."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    where = _place(error, [Path(code.co_filename).absolute().parent]) if code is not None else None
    place = f"{where[0].name}, line {where[1]}: " if where else ""
    return f"{place}{type(error).__name__}: {error}"


def _place(error: BaseException, places: Sequence[Path]) -> tuple[Path, int] | None:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return Path(error.filename).absolute(), error.lineno
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    inside = [(file, f.lineno or 0) for f in frames if _inside(file := Path(f.filename).absolute(), places)]
    return inside[-1] if inside else None
