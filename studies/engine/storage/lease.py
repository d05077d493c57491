"""A lease: a small file that names the live process working on a folder.

Created with a hard link, so it appears complete and only once, also on NFS. Its age is the time since its owner renewed
it; on the same machine only the owner's process counts, as clocks can jump. A suspended owner that was presumed dead
learns so when it goes on: the token is no longer its own, and a lease that is gone is never placed again.
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
from pathlib import Path
from typing import Any

from studies.engine.core.files import link, open_regular, remove
from studies.engine.core.processes import is_alive, is_stopped, machine_id, start_time
from studies.engine.core.settings import number
from studies.engine.storage import records

HEARTBEAT_SECONDS = number("DYNVIT_HEARTBEAT", 10, least=0.01)
STALE_AFTER = 5  # heartbeats
MAX_BYTES = 2**16


class Lease:
    """One lease file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self) -> str | None:
        """Take the lease for this process; return a token, or None where a live process holds it."""
        token = uuid.uuid4().hex
        for _ in range(3):
            if self._create(token):
                return token
            if not self._steal_stale(token):
                return None
        return None

    def release(self, token: str) -> None:
        if self.is_owner(token):
            self.path.unlink(missing_ok=True)

    def renew(self, token: str) -> bool:
        """Refresh the lease. False: it was taken from this process, stop working."""
        if not self.is_owner(token):
            return False
        os.utime(self.path)
        return True

    def is_alive(self) -> bool:
        """Return whether a live process holds it."""
        found = self._read()
        return found is not None and _fresh(*found)

    def owner(self) -> dict[str, Any] | None:
        """Return its owner (host, pid, time, token), dead or alive."""
        found = self._read()
        return _parse(found[0]) if found else None

    def is_owner(self, token: str) -> bool:
        """Return whether the lease is there with this token; OSError where that cannot be read now."""
        try:
            with open(self.path, "rb") as f:
                return (_parse(f.read(MAX_BYTES)) or {}).get("token") == token
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False

    def _read(self) -> tuple[bytes, int] | None:
        """Return contents, empty if unreadable, and modification time (ns) of the same file; None without one."""
        try:
            with open_regular(self.path) as f:
                return f.read(MAX_BYTES), os.fstat(f.fileno()).st_mtime_ns
        except OSError:
            try:
                return b"", os.lstat(self.path).st_mtime_ns
            except OSError:
                return None

    def _create(self, token: str) -> bool:
        pid = os.getpid()
        body = {
            "host": socket.gethostname(),
            "machine": machine_id(),
            "pid": pid,
            "born": start_time(pid),
            "token": token,
        }
        temporary = self.path.with_name(f".{self.path.name}.{token}")
        try:
            temporary.write_text(json.dumps({**body, "time": time.time()}))
            link(temporary, self.path)  # exclusive and complete at once
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _steal_stale(self, token: str) -> bool:
        """Remove a dead process's lease; return whether it is free now."""
        with self._lock():
            found = self._read()
            if found is None:
                return True
            if _fresh(*found):
                return False
            stale_path = self.path.with_name(f".{self.path.name}.stale.{token}")
            try:
                os.rename(self.path, stale_path)
            except FileNotFoundError:
                return True
            moved = Lease(stale_path)._read()
            if moved != found:  # its owner renewed it between the read and the rename: restore it
                with contextlib.suppress(FileExistsError):  # then its owner learns of the loss at its next renewal
                    link(stale_path, self.path)
            remove(stale_path)
            return moved == found

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time remove a stale lease, or the second would remove the first one's new lease.

        The lock ends with its process. A file system without locks relies on the comparison after the rename.
        """
        lock = self.path.with_name(f".{self.path.name}.turn")
        while True:
            with open(lock, "ab") as f:
                with contextlib.suppress(OSError):
                    fcntl.flock(f, fcntl.LOCK_EX)
                if not _is_at(f.fileno(), lock):
                    continue  # its previous holder has removed it
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.fstat(descriptor).st_ino == os.stat(path).st_ino
    except FileNotFoundError:
        return False


def _fresh(body: bytes, touched_ns: int) -> bool:
    held = _parse(body)
    if held is not None and held["machine"] == machine_id():
        if not is_alive(held["pid"], held["born"]):
            return False
        if not is_stopped(held["pid"]):
            return True
    return abs(time.time() - touched_ns / 1e9) < STALE_AFTER * HEARTBEAT_SECONDS


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        return records.claim(json.loads(body))
    except (ValueError, RecursionError):
        return None
