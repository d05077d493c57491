"""A claim: a small file that says which live process works on a folder.

Made with a hard link, so it appears complete and only once, also on NFS. Its age is the time since the holder touched
it last. A holder that was taken for dead and comes back learns so at its next beat: the token is not its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = float(os.environ.get("DYNVIT_HEARTBEAT", "10"))
STALE_AFTER = 5  # heartbeats


@cache
def machine() -> str:
    """This host as far as process ids mean the same: its name and, on Linux, the process namespace."""
    try:
        return f"{socket.gethostname()}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def born(pid: int) -> str:
    """When a process of this machine started, as the kernel counts; tells it from a later one with its number."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def alive(pid: int, birth: str = "") -> bool:
    """Whether a process of this machine runs (a zombie does not), and is the one born then."""
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


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty where there is no such process (or no /proc)."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


class Claim:
    """One claim file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self) -> str | None:
        """Claim for this process: a token, or None where a live process holds it."""
        token = uuid.uuid4().hex
        for _ in range(3):
            if self._place(token):
                return token
            if not self._break_stale(token):
                return None
        return None

    def release(self, token: str) -> None:
        if self._held_by(token):
            self.path.unlink(missing_ok=True)

    def beat(self, token: str) -> bool:
        """Say that the holder lives. False: the claim is another's now, stop working."""
        if not self._held_by(token):
            # taken away by a breaker that died before it put it back: ours again if nobody else has it
            return not self.path.exists() and self._place(token)
        try:
            os.utime(self.path)
        except FileNotFoundError:
            return self._place(token)
        return True

    def alive(self) -> bool:
        """True while a live process holds it."""
        seen = self._look()
        return seen is not None and _fresh(*seen)

    def holder(self) -> dict[str, Any] | None:
        """Who holds it (host, pid, time, token), dead or alive."""
        seen = self._look()
        return _parse(seen[0]) if seen else None

    def _held_by(self, token: str) -> bool:
        held = self.holder()
        return held is not None and held.get("token") == token

    def _look(self) -> tuple[bytes, int] | None:
        """Contents and modification time (ns), of one and the same file."""
        try:
            with open(self.path, "rb") as f:
                return f.read(), os.fstat(f.fileno()).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _place(self, token: str) -> bool:
        pid = os.getpid()
        body = {"host": socket.gethostname(), "machine": machine(), "pid": pid, "born": born(pid), "token": token}
        temporary = self.path.with_name(f".{self.path.name}.{token}")
        try:
            temporary.write_text(json.dumps({**body, "time": time.time()}))
            os.link(temporary, self.path)  # exclusive and complete at once
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _break_stale(self, token: str) -> bool:
        """Remove a dead process's claim; True when the way is free. Breakers take turns."""
        with self._turn():
            seen = self._look()
            if seen is None:
                return True
            if _fresh(*seen):
                return False
            grave = self.path.with_name(f".{self.path.name}.stale.{token}")
            try:
                os.rename(self.path, grave)
            except FileNotFoundError:
                return True
            moved = Claim(grave)._look()
            if moved != seen:  # the holder came back to life between the look and the rename: it goes back
                with contextlib.suppress(FileExistsError):  # then the holder learns at its next beat that it lost
                    os.link(grave, self.path)
            grave.unlink(missing_ok=True)
            return moved == seen

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One breaker at a time: else the second moves away the claim that the first has just placed.

        The lock ends with its process. Where a file system has none, only the comparison after the rename is left.
        """
        lock = self.path.with_name(f".{self.path.name}.turn")
        while True:
            with open(lock, "ab") as f:
                with contextlib.suppress(OSError):
                    fcntl.flock(f, fcntl.LOCK_EX)
                if not _is_at(f.fileno(), lock):
                    continue  # the breaker before us has removed it
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.fstat(descriptor).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False


def _fresh(body: bytes, touched_ns: int) -> bool:
    held = _parse(body)
    here = held is not None and held.get("machine") == machine()
    if held is not None and here and not alive(int(held.get("pid", 0)), str(held.get("born", ""))):
        return False
    return time.time() - touched_ns / 1e9 < STALE_AFTER * HEARTBEAT_SECONDS


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        held = json.loads(body)
    except ValueError:
        return None
    return held if isinstance(held, dict) else None
