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
from pathlib import Path
from typing import Any

from studies.engine.core.processes import is_alive, machine_id, start_time

HEARTBEAT_SECONDS = float(os.environ.get("DYNVIT_HEARTBEAT", "10"))
STALE_AFTER = 5  # heartbeats


class Lease:
    """One claim file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self) -> str | None:
        """Claim for this process: a token, or None where a live process holds it."""
        token = uuid.uuid4().hex
        for _ in range(3):
            if self._create(token):
                return token
            if not self._steal_stale(token):
                return None
        return None

    def release(self, token: str) -> None:
        if self._is_owner(token):
            self.path.unlink(missing_ok=True)

    def renew(self, token: str) -> bool:
        """Say that the holder lives. False: the claim is another's now, stop working."""
        if not self._is_owner(token):
            # taken away by a breaker that died before it put it back: ours again if nobody else has it
            return not self.path.exists() and self._create(token)
        try:
            os.utime(self.path)
        except FileNotFoundError:
            return self._create(token)
        return True

    def is_alive(self) -> bool:
        """True while a live process holds it."""
        seen = self._read()
        return seen is not None and _fresh(*seen)

    def owner(self) -> dict[str, Any] | None:
        """Who holds it (host, pid, time, token), dead or alive."""
        seen = self._read()
        return _parse(seen[0]) if seen else None

    def _is_owner(self, token: str) -> bool:
        held = self.owner()
        return held is not None and held.get("token") == token

    def _read(self) -> tuple[bytes, int] | None:
        """Contents and modification time (ns), of one and the same file."""
        try:
            with open(self.path, "rb") as f:
                return f.read(), os.fstat(f.fileno()).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
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
            os.link(temporary, self.path)  # exclusive and complete at once
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _steal_stale(self, token: str) -> bool:
        """Remove a dead process's claim; True when the way is free. Breakers take turns."""
        with self._lock():
            seen = self._read()
            if seen is None:
                return True
            if _fresh(*seen):
                return False
            stale_path = self.path.with_name(f".{self.path.name}.stale.{token}")
            try:
                os.rename(self.path, stale_path)
            except FileNotFoundError:
                return True
            moved = Lease(stale_path)._read()
            if moved != seen:  # the holder came back to life between the look and the rename: it goes back
                with contextlib.suppress(FileExistsError):  # then the holder learns at its next beat that it lost
                    os.link(stale_path, self.path)
            stale_path.unlink(missing_ok=True)
            return moved == seen

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
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
    here = held is not None and held.get("machine") == machine_id()
    if held is not None and here and not is_alive(int(held.get("pid", 0)), str(held.get("born", ""))):
        return False
    return time.time() - touched_ns / 1e9 < STALE_AFTER * HEARTBEAT_SECONDS


def _parse(body: bytes) -> dict[str, Any] | None:
    try:
        held = json.loads(body)
    except ValueError:
        return None
    return held if isinstance(held, dict) else None
