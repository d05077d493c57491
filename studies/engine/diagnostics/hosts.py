"""What differs between the machines that share a results folder, and what waits there for nobody: for `doctor`.

Each trial's env.json and state.json say where it ran, with what, and what the clock there said.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.core.trial import State
from studies.engine.execution import study_lock
from studies.engine.launchers.slurm.submissions import read_submissions
from studies.engine.storage.code_snapshot import SOURCE, fingerprint, root
from studies.engine.storage.lease import HEARTBEAT_SECONDS, STALE_AFTER
from studies.engine.storage.plan_file import PlanFile
from studies.engine.storage.results_dir import Store

SKEW = STALE_AFTER * HEARTBEAT_SECONDS / 10
"""Seconds between two clocks that are worth a word; at ten times as many the living look dead."""
DAY = 24 * 3600.0
RECENT = 30 * 24 * 3600.0
"""Seconds: what a machine had installed longer ago is history."""
CODE_AGE = 3600.0
"""A snapshot younger than this may be that of a driver which is about to start."""

Env = dict[str, Any]


def skew(store: Store) -> float:
    """Seconds that this machine's clock is ahead of the one that stamps files in the results folder."""
    probe = store.root / f".probe.{os.getpid()}.{os.urandom(3).hex()}"
    try:
        before = time.time()
        probe.write_bytes(b"x")
        stamped = probe.stat().st_mtime
        after = time.time()
    finally:
        probe.unlink(missing_ok=True)
    return max(before - stamped, 0.0) or min(after - stamped, 0.0)


def clocks(store: Store) -> dict[str, float]:
    """The same of the hosts that run trials now, by what they write into state.json."""
    found: dict[str, float] = {}
    for folder in store.trials.glob("*"):
        file = folder / "state.json"
        raw = read_json(file) or {}
        if raw.get("status") == "running" and store.trial(folder.name).has_live_worker():
            ahead = float(raw.get("heartbeat") or 0.0) - file.stat().st_mtime
            if abs(ahead) < DAY:  # else it is no heartbeat
                found[str(raw.get("host", ""))] = ahead
    return found


def environments(store: Store, now: float) -> dict[str, Env]:
    """host -> what its latest attempt ran with; attempts on this machine tell of the past, not of what is here now."""
    latest: dict[str, tuple[float, Env]] = {}
    for folder in store.trials.glob("*"):
        state = read_json(folder / "state.json") or {}
        attempt = max(int(state.get("attempt") or 0) - 1, 0)
        env = read_json(folder / "attempts" / str(attempt) / "env.json") or {}
        host, when = str(env.get("host", "")), float(state.get("heartbeat") or state.get("ended") or 0.0)
        if host and now - when < RECENT and when > latest.get(host, (0.0, {}))[0]:
            latest[host] = when, env
    return {host: env for host, (_, env) in sorted(latest.items())}


def differences(environments: Mapping[str, Env], here: Env) -> Iterator[str]:
    """ "torch 2.15.0 on login, 2.14.0 on node3": everything that is not the same wherever it is known."""
    every = {**{host: _flat(env) for host, env in environments.items()}, socket.gethostname(): _flat(here)}
    for name in sorted({name for flat in every.values() for name in flat}):
        hosts: dict[str, list[str]] = {}
        for host, flat in every.items():
            if name in flat:
                hosts.setdefault(flat[name], []).append(host)
        if len(hosts) > 1:
            parts = [f"{version} on {_listed(where)}" for version, where in sorted(hosts.items())]
            yield f"{name} {', '.join(parts)}"


def waiting(store: Store, plans: list[PlanFile]) -> dict[str, int]:
    """Study -> trials that are queued though no driver is at work on them and no job of a queue has them."""
    submitted = {trial for record in read_submissions(store.root) for task in record.tasks for trial in task}
    found: dict[str, int] = {}
    for plan in plans:
        if study_lock.running_driver(plan.folder) is not None:
            continue
        names = {trial.folder for trial in plan.trials} - submitted
        states = [read_json(store.trials / name / "state.json") or {} for name in names]
        count = sum(state.get("status") in ("queued", "preempted") for state in states)
        if count:
            found[plan.full_name] = count
    return found


def old_code(store: Store, plans: list[PlanFile], states: Mapping[str, State]) -> list[Path]:
    """Snapshots whose code no trial ran with, and which nobody may be about to use."""
    busy = (
        any(study_lock.running_driver(plan.folder) is not None for plan in plans)
        or next(read_submissions(store.root), None) is not None
    )
    if busy or any(state.status == "running" for state in states.values()):
        return []
    used = {fingerprint(root())}
    for name, state in states.items():
        for attempt in range(state.attempt):
            env = read_json(store.trials / name / "attempts" / str(attempt) / "env.json") or {}
            used |= {str(env.get("source") or ""), str(env.get("code") or "")}
    found = []
    for folder in sorted((store.root / "code").glob("[!.]*")):
        source = str((read_json(folder / SOURCE) or {}).get("source") or "")
        if folder.is_dir() and not {source, folder.name} & used and time.time() - folder.stat().st_mtime > CODE_AGE:
            found.append(folder)
    return found


def _flat(env: Env) -> dict[str, str]:
    packages = env.get("packages") if isinstance(env.get("packages"), dict) else {}
    python = {"python": str(env["python"])} if env.get("python") else {}
    return {**python, **{str(k): str(v) for k, v in (packages or {}).items()}}


def _listed(hosts: list[str]) -> str:
    return ", ".join(hosts[:3]) + (f" and {len(hosts) - 3} more" if len(hosts) > 3 else "")
