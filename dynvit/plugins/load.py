"""`load`: make a list of own files and modules, and what they register, the own code of this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from dynvit.plugins import modules, tables
from dynvit.plugins.modules import PluginError

GROUP = "dynvit.plugins"


@dataclass
class Loaded:
    """What a list of imports consists of and has registered."""

    folders: list[Path] = field(default_factory=list)
    modules: dict[str, ModuleType] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    """Of the content of every file when it was read."""
    added: list[tuple[str, tables.State]] = field(default_factory=list)
    """By entry."""

    def is_current(self) -> bool:
        return self.digests == modules.digests(iter(self.digests))

    def activate(self) -> None:
        sys.modules.update(self.modules)
        sys.path.extend(str(folder) for folder in self.folders)  # for what is imported when a function runs
        for _, entries in self.added:
            tables.put(entries)

    def deactivate(self) -> None:
        for _, entries in self.added:
            tables.drop(entries)
        for name in self.modules:
            sys.modules.pop(name, None)
        for folder in self.folders:
            if str(folder) in sys.path:
                sys.path.remove(str(folder))


_known: dict[tuple[str, ...], Loaded] = {}
_active: tuple[str, ...] = ()


def load(imports: Sequence[str] = ()) -> None:
    """Import every entry, after the installed plugins (entry points of the group ``dynvit.plugins``).

    imports: absolute paths of files, or names of modules. What they register replaces what an earlier call's
    list registered. Code that was loaded before and has the same content is not run again; where a file, or one beside
    it that it imports, was edited, the list is loaded anew.

    Raises PluginError, a ValueError, with the entry, the line of the user's file, and the error.

    ::

        dynvit.plugins.load(["/home/me/my_models.py", "mypkg.data"])
        model = timm.create_model("mynet_tiny", num_classes=5)
    """
    global _active
    _load_installed()
    wanted = tuple(imports)
    if wanted == _active and (not wanted or _known[wanted].is_current()):
        return
    if _active:
        _known[_active].deactivate()
    _active = ()
    if wanted:
        if wanted in _known and _known[wanted].is_current():
            _known[wanted].activate()
        else:
            _known[wanted] = _loaded(wanted)
        _active = wanted


def origins(kind: str) -> dict[str, str]:
    """Return the entry of every model, data set, loss, metric or reducer (the `kind`) that `load` has brought."""
    active = [*_load_installed(), *(_known[_active].added if _active else ())]
    return {name: entry for entry, entries in active for name in entries[kind]}


def _loaded(entries: tuple[str, ...]) -> Loaded:
    places = modules.roots(entries)
    folders = list(dict.fromkeys(Path(e).expanduser().absolute().parent for e in entries if modules.is_file(e)))
    found, start, imported = Loaded(folders), tables.state(), set(sys.modules)
    try:
        with modules.searching(folders):
            for entry in entries:
                found.added.append((entry, _registered(entry, lambda e=entry: modules.import_entry(e), places)))
    except PluginError:
        for name in modules.own_modules(set(sys.modules) - imported, places):
            del sys.modules[name]
        tables.restore(start)
        raise
    found.modules = modules.own_modules(set(sys.modules) - imported, places)
    found.digests = modules.digests(map(modules.file_of, found.modules.values()))
    sys.path.extend(map(str, folders))
    return found


def _registered(entry: str, run: Callable[[], Any], places: Sequence[Path]) -> tables.State:
    before = tables.state()
    try:
        run()
        return tables.added(before)
    except (Exception, SystemExit) as error:
        tables.restore(before)
        raise modules.explained(entry, error, places) from error


@cache
def _load_installed() -> list[tuple[str, tables.State]]:
    """Load the entry points, each a module or a function without arguments, once."""
    found = []
    for point in sorted(
        entry_points(group=GROUP), key=lambda point: (point.dist.name if point.dist else "", point.name)
    ):
        name = f"the installed plugin {point.value} of {point.dist.name if point.dist else point.name}"

        def run(point: Any = point) -> None:
            thing = point.load()
            if not isinstance(thing, ModuleType):
                thing()

        found.append((name, _registered(name, run, modules.roots([point.value.partition(":")[0]]))))
    return found
