"""Other versions of own code that this process has imported by name, as a notebook does: while a version is loaded, its
modules are found and its names are registered, not theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from dynvit.plugins import modules, tables


@dataclass(frozen=True)
class SetAside:
    """Modules, and what they have registered."""

    modules: dict[str, ModuleType]
    entries: tables.State

    @classmethod
    def take(cls, folders: Sequence[Path], files: Sequence[Path], further: Sequence[tables.State]) -> SetAside:
        """Take away the modules that have a name of own code in these folders and are from elsewhere.

        files: those of the list. A program that is a version of one of them, and then loads it, has registered, too.
        further: what else is registered by other versions.
        """
        tops = {name for folder in folders if folder.is_dir() for name in _others(folder)}
        found = {name: module for name, module in list(sys.modules.items()) if name.split(".")[0] in tops}
        program = modules.file_of(sys.modules["__main__"]) if "__main__" in sys.modules else None
        is_one = program is not None and program.name in {file.name for file in files}
        entries = tables.of_modules({*found, *(["__main__"] if is_one else [])})
        for kind, named in entries.items():
            present = tables.TABLES[kind].items()
            named |= {n: v for n, v in present if any(v is state.get(kind, {}).get(n) for state in further)}
        for name in found:
            del sys.modules[name]
        tables.drop(entries)
        return cls(found, entries)

    def give_back(self) -> None:
        """Undo it, except for names that are taken by now."""
        for name, module in self.modules.items():
            sys.modules.setdefault(name, module)
        for kind, named in self.entries.items():
            tables.put({kind: {name: made for name, made in named.items() if name not in tables.TABLES[kind]}})


def _others(folder: Path) -> Iterator[str]:
    """Yield the names of modules in a folder under which another one is imported, which is not installed."""
    for path in folder.iterdir():
        name = path.stem if path.suffix == ".py" else path.name
        module = sys.modules.get(name)
        if module is None or name in (*modules.OURS, *sys.stdlib_module_names) or not _is_code(path):
            continue
        places = [file] if (file := modules.file_of(module)) else map(Path, getattr(module, "__path__", ()))
        if any(not place.is_relative_to(folder) and not {*place.parts} & {*modules.INSTALLED} for place in places):
            yield name


def _is_code(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
