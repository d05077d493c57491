"""Processes of this machine, identified across reboots, containers and reused process ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple


@cache
def machine_id() -> str:
    """Return what process ids are relative to: on Linux this boot of the machine and the process namespace."""
    try:  # not the host name, which other machines may have too and which changes with the network
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def uptime() -> float:
    """Return seconds since an arbitrary moment; unlike `time.monotonic`, those in which the machine slept count."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def start_time(pid: int) -> str:
    """Return a process's start time in kernel ticks, which distinguishes it from a later one with the same id."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def is_alive(pid: int, birth: str = "") -> bool:
    """Return whether a process of this machine runs (a zombie does not) and, with `birth`, started at that time."""
    if pid <= 0:
        return False
    if os.path.exists("/proc/self/stat"):
        fields = _stat(pid)
        return bool(fields) and fields[0] not in ("Z", "X") and birth in ("", fields[19])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_stopped(pid: int) -> bool:
    """Return whether a process of this machine is suspended (SIGSTOP, Ctrl-Z)."""
    return _stat(pid)[:1] == ["T"]


class Use(NamedTuple):
    """What processes take: seconds of CPU time, those of ended children included, and resident bytes."""

    cpu: float
    memory: float


def use_of_tree(pid: int) -> Use | None:
    """Return what a process of this machine takes with all that it has started; None where there is no /proc."""
    if not os.path.exists("/proc/self/stat"):
        return None
    stats = {int(name): fields for name in os.listdir("/proc") if name.isdigit() and (fields := _stat(int(name)))}
    children: dict[int, list[int]] = {}
    for child, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(child)
    tree = [pid]
    for one in tree:  # grows while it is read
        tree += children.get(one, ())
    found = [stats[one] for one in tree if one in stats]
    ticks = sum(int(field) for fields in found for field in fields[11:15])
    pages = sum(int(fields[21]) for fields in found)
    return Use(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty without such a process (or without /proc)."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def command_output(*command: str) -> str:
    """Return what a program prints, stripped; empty where it is not installed, fails or hangs for 20 s."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def available_cores() -> int:
    """Return how many cores of this machine this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gb() -> float:
    """Return the memory of this machine, or of the container that this process is in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError, ValueError):  # no such control group, or "max"
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limits) / 2**30
