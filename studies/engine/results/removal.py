"""What can be removed from a results folder: trials of no study, a study with the trials that only it has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from studies.engine.core.files import DamagedFile
from studies.engine.core.trial import first_trials
from studies.engine.execution import study_lock
from studies.engine.launchers.slurm import job_lookup
from studies.engine.runtime.worker import RUNNABLE
from studies.engine.storage.plan_file import folders, read_plan
from studies.engine.storage.results_dir import Store


@dataclass(frozen=True)
class Item:
    """A folder that can be removed, or the reason why it is left."""

    path: Path
    bytes: int
    kept: str = ""


def trials_of_no_study(store: Store) -> list[Item]:
    """Return the trials that no plan of the results folder has, and no trial of a plan starts from.

    Raises:
        DamagedFile: a plan cannot be read, so that it is not known which trials are its.
    """
    used = _used(store, folders(store.root))
    return _items(store, [name for name in _trials(store) if name not in used])


def study_and_trials(store: Store, studies: Sequence[Path]) -> list[Item]:
    """Return these studies' folders and the trials that no other study has. Raises DamagedFile as above."""
    drivers = {folder: study_lock.running_driver(folder) for folder in studies}
    free = [folder for folder, driver in drivers.items() if driver is None]
    only = _used(store, free) - _used(store, [folder for folder in folders(store.root) if folder not in free])
    found = [Item(f, _size(f), f"run by process {d['pid']} on {d['host']}" if d else "") for f, d in drivers.items()]
    return [*found, *_items(store, [name for name in _trials(store) if name in only])]


def remove(store: Store, items: Iterable[Item]) -> Iterator[Item]:
    """Remove what may be removed; yield each item with the reason if it was left after all."""
    for item in items:
        reason = item.kept or _reason(store, item.path)
        if not reason:
            aside = item.path.with_name(f".removed.{item.path.name}.{os.getpid()}")
            try:
                if item.path.parent == store.trials and not store.trial(item.path.name).acquire_lease():
                    reason = "running"
                else:
                    item.path.rename(aside)  # at once, so that no worker finds half of a trial
                    shutil.rmtree(aside)
            except OSError as error:
                reason = error.strerror or str(error)
        yield Item(item.path, item.bytes, reason)


def _items(store: Store, names: Sequence[str]) -> list[Item]:
    jobs, silent = job_lookup.ask(store.root, set(names))
    found = []
    for name in names:
        path = store.trials / name
        reason = f"in the queue: {jobs[name]}" if name in jobs else _reason(store, path)
        if name in silent and not reason and store.trial(name).state().status in RUNNABLE:
            reason = "submitted to SLURM, which does not answer here"
        found.append(Item(path, _size(path), reason))
    return found


def _reason(store: Store, path: Path) -> str:
    """Return why a folder must stay; empty where it may go."""
    if path.is_symlink() or path.resolve() != path or store.root not in path.parents:
        return "a link, or outside the results folder"
    if path.parent == store.trials:
        folder = store.trial(path.name)
        if folder.has_live_worker():
            return "running"
        queued = folder.state().status == "queued"  # also where a driver was killed, and never comes back for it
        return "queued" if queued and any(map(study_lock.running_driver, folders(store.root))) else ""
    driver = study_lock.running_driver(path)
    return f"run by process {driver['pid']} on {driver['host']}" if driver else ""


def _used(store: Store, studies: Iterable[Path]) -> set[str]:
    """Return the trials of these studies' plans, and all that those start from."""
    found: set[str] = set()
    for folder in studies:
        try:
            plan = read_plan(folder)
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            raise DamagedFile(f"{error}: until then it is not known which trials are its") from error
        found |= {*(trial.folder for trial in plan.trials), *plan.origins}
    return found | _firsts(store, found)


def _firsts(store: Store, names: Collection[str]) -> set[str]:
    seen, waiting = set(names), list(names)
    while waiting:
        config = (store.trial(waiting.pop()).spec() or {}).get("config", {})
        fresh = set(first_trials(config).values()) - seen
        seen |= fresh
        waiting += fresh
    return seen


def _trials(store: Store) -> list[str]:
    try:
        with os.scandir(store.trials) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=True))
    except OSError:
        return []


def _size(folder: Path) -> int:
    return sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file() and not f.is_symlink())
