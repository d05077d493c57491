"""`load`: make a list of own files and modules, and what they register, the own code of this process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from dynvit.plugins import modules, tables
from dynvit.plugins.modules import PluginError
from dynvit.plugins.set_aside import SetAside

GROUP = "dynvit.plugins"


@dataclass(frozen=True)
class Installed:
    """A plugin, and what it has registered. file: that was imported."""

    point: Any
    entry: str
    added: tables.State
    file: Path | None

    def run(self) -> None:
        """Import the module of the entry point, or call its function."""
        thing = self.point.load()
        if not isinstance(thing, ModuleType):
            thing()

    def has_copy(self, folders: Sequence[Path]) -> bool:
        """Return whether its code lies in one of these folders and was not imported from there."""
        top = self.point.value.partition(":")[0].split(".")[0]
        there = any((folder / top).is_dir() or (folder / f"{top}.py").is_file() for folder in folders)
        return there and not any(self.file and self.file.is_relative_to(folder) for folder in folders)


@dataclass
class Loaded:
    """What a list of imports consists of and has registered."""

    first: list[Path]
    """Folders that are searched before all others."""
    folders: list[Path]
    """Of the files of the list."""
    places: list[Path]
    """Where its own code lies."""
    aside: SetAside
    copied: list[Installed]
    """Plugins whose copies in these folders stand for what is installed."""
    before: set[str] = field(default_factory=lambda: set(sys.modules))
    """Modules that were there before."""
    since: float = field(default_factory=time.time)
    modules: dict[str, ModuleType] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)
    """Of the content of every file when it was read."""
    added: list[tuple[str, tables.State]] = field(default_factory=list)
    """By entry."""

    def is_current(self) -> bool:
        return self.digests == modules.digests(iter(self.digests))

    def take_late_imports(self) -> None:
        """Count what functions of it have imported since as part of it, where it is active. A file that was written
        since may have been read before or after: it is no longer current."""
        late = modules.own_modules(set(sys.modules) - self.before - self.modules.keys(), self.places)
        self.modules |= late
        for path, digest in modules.digests(map(modules.file_of, late.values())).items():
            self.digests[path] = digest if digest and path.stat().st_mtime < self.since else "unknown"

    def activate(self) -> None:
        files = [Path(entry) for entry, _ in self.added if modules.is_file(entry)]
        self.aside = SetAside.take(self.first + self.folders, files, [plugin.added for plugin in self.copied])
        sys.modules.update(self.modules)
        self.search()
        for _, entries in self.added:
            tables.put(entries)

    def search(self) -> None:
        """Let what is imported when a function runs be found."""
        sys.path[:0] = map(str, self.first)
        sys.path.extend(map(str, self.folders))

    def deactivate(self) -> None:
        self.take_late_imports()
        for _, entries in self.added:
            tables.drop(entries)
        for name in self.modules:
            sys.modules.pop(name, None)
        for folder in self.first + self.folders:
            if str(folder) in sys.path:
                sys.path.remove(str(folder))
        self.aside.give_back()


Wanted = tuple[tuple[str, ...], tuple[str, ...]]
_known: dict[Wanted, Loaded] = {}
_active: Wanted = ((), ())


def load(imports: Sequence[str] = (), folders: Sequence[str] = ()) -> None:
    """Import every entry, after the installed plugins (entry points of the group ``dynvit.plugins``).

    imports: absolute paths of files, or names of modules. What they register replaces what an earlier call's
    list registered, and what another version of the same files did that was imported by name. Code that was loaded
    before and has the same content is not run again; where a file, or one that it imports, was edited, the list is
    loaded anew. folders: searched for modules before all others, as those of a copy are, also for installed plugins.

    Raises PluginError, a ValueError, with the entry, the line of the user's file, and the error.

    ::

        dynvit.plugins.load(["/home/me/my_models.py", "mypkg.data"])
        model = timm.create_model("mynet_tiny", num_classes=5)
    """
    global _active
    some = bool(imports) or any(plugin.has_copy(list(map(Path, folders))) for plugin in _load_installed())
    wanted = (tuple(imports), tuple(folders)) if some else ((), ())
    if _active in _known:
        _known[_active].take_late_imports()
    if wanted == _active and (not some or _known[wanted].is_current()):
        return
    if _active in _known:
        _known[_active].deactivate()
    _active = ((), ())
    if some:
        if wanted in _known and _known[wanted].is_current():
            _known[wanted].activate()
        else:
            _known[wanted] = _loaded(*wanted)
        _active = wanted


def origins(kind: str) -> dict[str, str]:
    """Return the entry of every model, data set, loss, metric or reducer (the `kind`) that `load` has brought."""
    active = [
        *((plugin.entry, plugin.added) for plugin in _load_installed()),
        *(_known[_active].added if _active in _known else ()),
    ]
    return {name: entry for entry, entries in active for name in entries[kind]}


def _loaded(entries: tuple[str, ...], given: tuple[str, ...]) -> Loaded:
    start, first = tables.state(), list(map(Path, given))
    folders = list(dict.fromkeys(Path(e).expanduser().absolute().parent for e in entries if modules.is_file(e)))
    files, copied = (
        [Path(e) for e in entries if modules.is_file(e)],
        [p for p in _load_installed() if p.has_copy(first)],
    )
    aside = SetAside.take(first + folders, files, [plugin.added for plugin in copied])
    with modules.searching(folders + first):
        found = Loaded(first, folders, modules.roots(entries) + first, aside, copied)
        runs = [(p.entry, p.run) for p in copied] + [(e, partial(modules.import_entry, e)) for e in entries]
        try:
            for entry, run in runs:
                found.added.append((entry, _registered(entry, run, found.places)))
        except PluginError:
            for name in modules.own_modules(set(sys.modules) - found.before, found.places):
                del sys.modules[name]
            aside.give_back()
            tables.restore(start)
            raise
    found.modules = modules.own_modules(set(sys.modules) - found.before, found.places)
    found.digests = modules.digests(map(modules.file_of, found.modules.values()))
    found.search()
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
def _load_installed() -> list[Installed]:
    """Load the entry points, each a module or a function without arguments, once."""
    found = []
    points = entry_points(group=GROUP)
    for point in sorted(points, key=lambda point: (point.dist.name if point.dist else "", point.name)):
        entry = f"the installed plugin {point.value} of {point.dist.name if point.dist else point.name}"
        module = point.value.partition(":")[0]
        run = Installed(point, entry, {}, None).run
        added = _registered(entry, run, modules.roots([module]))
        found.append(Installed(point, entry, added, modules.file_of(sys.modules[module])))
    return found
