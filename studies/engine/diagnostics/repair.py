"""`doctor --fix`: remove what no live process needs, correct outdated states; one line for each action."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace

from studies.engine.core.files import remove
from studies.engine.diagnostics import hosts
from studies.engine.diagnostics.doctor import read_plans
from studies.engine.diagnostics.orphans import orphans
from studies.engine.diagnostics.trial_check import temp_files
from studies.engine.storage.lease import Lease
from studies.engine.storage.results_dir import Store


def repair(store: Store) -> Iterator[str]:
    """Repair the results folder and yield what was done. OSError if something cannot be removed."""
    for path in temp_files(store.root, hosts.file_time(store)):
        remove(path)
        yield f"removed {path.relative_to(store.root)}, left half-written by a dead process"
    yield from _lost(store)
    yield from _claims(store)
    for pid, trial in orphans(store):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
            yield f"asked worker {pid} (trial {trial}), whose driver is gone, to save and exit"
    for path in hosts.unused_snapshots(store, hosts.states_of(store), read_plans(store)[0]):
        size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        shutil.rmtree(path)
        yield f"removed code/{path.name}, a code snapshot that no trial used ({size / 1e6:.1f} MB)"


def _lost(store: Store) -> Iterator[str]:
    """Mark trials as lost that claim to run: `run` would notice, a reader of state.json would not."""
    for path in sorted(store.trials.glob("*")):
        folder = store.trial(path.name)
        state = folder.state()
        stale = state.status == "lost" and not state.ended and state.attempt > 0
        if stale and folder.set_state_if_idle(replace(state, ended=state.heartbeat)):
            yield f"marked trial {folder.id} as lost, its worker is dead; the next run resumes from its checkpoint"


def _claims(store: Store) -> Iterator[str]:
    for file in [*store.trials.glob("*/claim"), *store.root.glob("*/driver")]:
        holder = Lease(file).owner() or {}
        token = Lease(file).acquire()  # as a worker would: a live claim is never taken
        if token is not None:
            Lease(file).release(token)
            who = f"process {holder.get('pid')} on {holder.get('host')}"
            yield f"removed {file.relative_to(store.root)}, the claim of {who}, which is dead"
