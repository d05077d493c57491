"""Worker processes of this machine, as /proc shows them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from studies.engine.storage.results_dir import Store

MODULE = b"studies.engine.worker"


def orphans(store: Store) -> Iterator[tuple[int, str]]:
    """Yield process id and trial of every worker on this results folder that has lost its parent process."""
    for pid in sorted(int(name) for name in _processes()):
        arguments = _read(pid, "cmdline").split(b"\0")
        if MODULE not in arguments:
            continue
        folders = [Path(os.fsdecode(a)) for a in arguments if a.startswith(os.fsencode(store.trials) + b"/")]
        if folders and _parent(pid) != _starter(pid):
            yield pid, folders[0].name


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _starter(pid: int) -> int:
    """Return the process that started it: DYNVIT_PARENT, or else its parent."""
    for entry in _read(pid, "environ").split(b"\0"):
        if entry.startswith(b"DYNVIT_PARENT="):
            return int(entry.partition(b"=")[2] or 0)
    return _parent(pid)


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
