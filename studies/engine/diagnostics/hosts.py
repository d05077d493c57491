"""Differences between the machines that share a results folder, and trials that wait without a driver.

Each trial's env.json and state.json record host, versions and clock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.core.formatting import first_few
from studies.engine.core.trial import State
from studies.engine.execution import study_lock
from studies.engine.launchers.slurm.submissions import read_submissions
from studies.engine.storage.code_snapshot import SOURCE, fingerprint, root
from studies.engine.storage.lease import HEARTBEAT_SECONDS, STALE_AFTER
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store
from studies.engine.storage.state_watcher import StateWatcher

MAX_SKEW = STALE_AFTER * HEARTBEAT_SECONDS / 10
"""Seconds between two clocks that are reported; at ten times as many, live workers look dead."""
DAY = 24 * 3600.0
RECENT = 30 * 24 * 3600.0
"""Seconds: older environments of a machine are ignored."""
CODE_AGE = 3600.0
"""Seconds: a younger snapshot may belong to a driver that is about to start."""

Env = dict[str, Any]
States = Mapping[str, State]


def clock_skew(store: Store) -> float:
    """Return the seconds by which this machine's clock is ahead of the file system's."""
    probe = store.root / f".probe.{os.getpid()}.{os.urandom(3).hex()}"
    try:
        before = time.time()
        probe.write_bytes(b"x")
        stamped = probe.stat().st_mtime
        after = time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    return max(before - stamped, 0.0) or min(after - stamped, 0.0)


def file_time(store: Store) -> float:
    """Return what the file system's clock shows; this machine's where the folder cannot be written."""
    with contextlib.suppress(OSError):
        return time.time() - clock_skew(store)
    return time.time()


def states_of(store: Store) -> States:
    """Return the state of every trial folder."""
    return StateWatcher([store.trial(path.name) for path in store.trials.glob("[!.]*") if path.is_dir()]).poll()


def remote_clock_skews(store: Store, states: States) -> dict[str, float]:
    """Return the same for hosts that run trials now, from their heartbeats in state.json."""
    found: dict[str, float] = {}
    for name, state in states.items():
        if state.status == "running" and state.heartbeat:
            ahead = state.heartbeat - store.trial(name).state_file.stat().st_mtime
            if abs(ahead) < DAY:  # otherwise it is no heartbeat
                found[state.host] = ahead
    return found


def environments(store: Store, states: States, now: float) -> dict[str, Env]:
    """Return host -> environment of its latest attempt."""
    found: dict[str, Env] = {}
    for name, state in sorted(states.items(), key=lambda item: item[1].heartbeat or item[1].ended, reverse=True):
        if state.host not in found and now - (state.heartbeat or state.ended) < RECENT:
            env = store.trial(name).environment(state.attempt)
            if host := str(env.get("host") or ""):
                found.setdefault(host, env)
    return dict(sorted(found.items()))


def differences(environments: Mapping[str, Env], here: Env) -> Iterator[str]:
    """Yield "torch 2.15.0 on login, 2.14.0 on node3" for everything that differs between hosts."""
    every = {**{host: _flat(env) for host, env in environments.items()}, socket.gethostname(): _flat(here)}
    for name in sorted({name for flat in every.values() for name in flat}):
        hosts: dict[str, list[str]] = {}
        for host, flat in every.items():
            if name in flat:
                hosts.setdefault(flat[name], []).append(host)
        if len(hosts) > 1:
            parts = [f"{version} on {first_few(where)}" for version, where in sorted(hosts.items())]
            yield f"{name} {', '.join(parts)}"


def waiting(store: Store, states: States, plans: list[PlanFile]) -> dict[str, int]:
    """Return study -> number of queued trials that neither a driver nor a job in a queue will run."""
    submitted = {trial for record in read_submissions(store.root) for task in record.tasks for trial in task}
    found: dict[str, int] = {}
    for plan in plans:
        if study_lock.running_driver(plan.folder) is not None:
            continue
        names = {trial.folder for trial in plan.trials} - submitted
        count = sum(name in states and states[name].status in ("queued", "preempted") for name in names)
        if count:
            found[plan.full_name] = count
    return found


def unused_snapshots(store: Store, states: States, plans: list[PlanFile]) -> list[Path]:
    """Return code snapshots that no trial used and that no driver or job may be about to use."""
    busy = (
        any(study_lock.running_driver(plan.folder) is not None for plan in plans)
        or next(read_submissions(store.root), None) is not None
    )
    folders = [folder for folder in sorted((store.root / "code").glob("[!.]*")) if _is_old(folder)]
    if not folders or busy or any(state.status == "running" for state in states.values()):
        return []
    used = {fingerprint(root())}
    for name, state in states.items():
        spec = store.trial(name).spec() or {}
        used.add(str(spec.get("own") or "").rpartition("/")[2])
        for attempt in range(state.attempt):
            env = store.trial(name).environment(attempt + 1)
            used |= {str(env.get("source") or ""), str(env.get("code") or "")}
            used.add(f"own-{(env.get('own') or {}).get('fingerprint')}")
    used.discard("")
    sources = [str((read_json(folder / SOURCE) or {}).get("source") or "") for folder in folders]
    return [folder for folder, source in zip(folders, sources, strict=True) if not {source, folder.name} & used]


def _is_old(folder: Path) -> bool:
    return folder.is_dir() and time.time() - folder.stat().st_mtime > CODE_AGE


def _flat(env: Env) -> dict[str, str]:
    packages = env.get("packages") if isinstance(env.get("packages"), dict) else {}
    python = {"python": str(env["python"])} if env.get("python") else {}
    return {**python, **{str(k): str(v) for k, v in (packages or {}).items()}}
