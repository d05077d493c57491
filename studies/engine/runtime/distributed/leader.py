"""Rank 0 of a trial that several processes train together; the other ranks are in `follower`. Standard library only.

Rank 0 is an ordinary worker. It publishes its address in the trial folder (a file named after this start); the others
connect and receive its decisions in order (which checkpoint to resume from, whether to save, whether to stop), so that
all ranks take the same steps and only rank 0 writes. A connection that closes early means that its process died, which
ends the attempt for all. Whoever connects shows the token of that file within seconds, or is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from studies.engine.core.settings import number
from studies.engine.runtime.distributed.env import LOOPBACK, RankInfo

RENDEZVOUS_SECONDS = number("DYNVIT_RENDEZVOUS_SECONDS", 300)
"""Seconds for all processes to connect: on a cluster they start on several nodes."""
ABORT_GRACE_SECONDS = 10.0
"""Seconds from the loss of a process until rank 0 is aborted."""
HELLO_SECONDS, HELLO_BYTES, MAX_UNKNOWN = 10.0, 1024, 16
"""Limits of connections that have not shown the token yet: time, length of what they send, how many at once."""
LINE_BYTES = 2**20
"""Limit of a message between two ranks."""
START, VALUE, ERROR, DONE = "start", "value", "error", "done"


class RankLost(Exception):
    """One of the processes has ended; the text says which and how."""


def rendezvous_file(folder: Path, rendezvous: str) -> Path:
    """Return the file in which rank 0 of that start publishes its address."""
    return folder / f"rendezvous-{hashlib.sha256(rendezvous.encode()).hexdigest()[:12]}"


class RankServer:
    """Use as a context manager around the attempt; on exit, waiting ranks are asked to end."""

    def __init__(self, folder: Path, ranks: RankInfo) -> None:
        self.world, self.address = ranks.world, ranks.address or socket.gethostname()
        self.reason, self.traceback = "", ""
        """Why the attempt ended (empty while it runs), and the traceback of the process that failed."""
        self.abort: Callable[[str], None] = lambda reason: None
        """Called ABORT_GRACE_SECONDS after a loss unless the attempt has ended by then; does not return."""
        self._file, self._checkpoint = rendezvous_file(folder, ranks.rendezvous), Path()
        self._token = secrets.token_hex(16)
        self._links: dict[int, socket.socket] = {}
        self._done: set[int] = set()
        self._changed = threading.Condition()
        self._unknown = threading.Semaphore(MAX_UNKNOWN)
        self._closing = threading.Event()
        self._server = socket.create_server((LOOPBACK if self.address == LOOPBACK else "", 0), backlog=self.world)

    def __enter__(self) -> RankServer:
        where = {"address": self.address, "port": self._server.getsockname()[1], "token": self._token}
        temporary = self._file.with_name(f".{self._file.name}")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(where, file)
        os.replace(temporary, self._file)
        threading.Thread(target=self._accept, name="rendezvous", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(self._all_connected, 10)  # ranks that are still starting see the end as well
        self._closing.set()
        self._file.unlink(missing_ok=True)
        if self._checkpoint.name:
            self._checkpoint.unlink(missing_ok=True)
        for link in (*self._links.values(), self._server):
            _close(link)

    # ---- for the attempt

    def wait_for_ranks(self, spec: dict[str, Any], checkpoint: Path | None, stopped: Callable[[], bool]) -> None:
        """Wait until all ranks have connected, then tell them what to run and from which checkpoint."""
        self._wait(lambda: self._all_connected() or stopped(), RENDEZVOUS_SECONDS)
        if not (self._all_connected() or stopped()):
            self._fail(f"{len(self._links) + 1} of {self.world} processes connected within {RENDEZVOUS_SECONDS:g} s")
            self._check()
        kept = None if checkpoint is None else str(self._keep(checkpoint))
        self._send({START: {"spec": spec, "checkpoint": kept}})

    def share(self, value: Any) -> None:
        """Send a value to the others; RankLost where one of them is gone."""
        self._check()
        self._send({VALUE: value})

    def finish(self, seconds: float = 60.0) -> None:
        """Wait until the others have ended too; RankLost where one of them has not reached its end."""
        self._wait(lambda: len(self._done) == self.world - 1, seconds)
        self._check()

    def failed_rank(self, seconds: float) -> str:
        """Return, after a failure of rank 0, how another rank caused it; empty if none did."""
        self._wait(lambda: False, seconds)
        return self.reason

    def _check(self) -> None:
        if self.reason:
            raise RankLost(self.reason)

    def _keep(self, checkpoint: Path) -> Path:
        """Return a second name of the checkpoint: another rank may read it after rank 0 has saved the next one."""
        self._checkpoint = checkpoint.with_name(f".{self._file.name}{checkpoint.suffix}")
        try:
            os.link(checkpoint, self._checkpoint)
        except OSError:  # a file system without hard links
            shutil.copyfile(checkpoint, self._checkpoint)
        return self._checkpoint

    # ---- connections

    def _all_connected(self) -> bool:
        return len(self._links) == self.world - 1

    def _wait(self, reached: Callable[[], bool], seconds: float) -> None:
        """Wait at most so long, and no longer than until a rank is lost."""
        until = time.monotonic() + seconds
        with self._changed:
            while not reached() and not self.reason and time.monotonic() < until:
                self._changed.wait(0.1)

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        for link in list(self._links.values()):
            with contextlib.suppress(OSError):  # its reader thread notices the end
                link.sendall(line)

    def _accept(self) -> None:
        while not self._closing.is_set():
            self._unknown.acquire()
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_rank, args=(link,), name="rendezvous", daemon=True).start()

    def _serve_rank(self, link: socket.socket) -> None:
        """Serve one other process until it ends."""
        late = threading.Timer(HELLO_SECONDS, _close, [link])
        late.start()
        lines = link.makefile("rb")
        hello = parse(read_line(lines, HELLO_BYTES))
        late.cancel()
        self._unknown.release()
        rank: Any = hello.get("rank")
        with self._changed:
            if hello.get("token") != self._token or rank not in range(1, self.world) or rank in self._links:
                _close(link)
                return
            self._links[rank] = link
            self._changed.notify_all()
        keep_alive(link)
        while line := read_line(lines):
            message = parse(line)
            if DONE in message:
                self._done.add(rank)
            if ERROR in message:
                self.traceback = self.traceback or str(message.get("trace", ""))
                self._break(str(message[ERROR]) if message[ERROR] == "oom" else f"process {rank}: {message[ERROR]}")
        if rank not in self._done and not self._closing.is_set():
            who = f"process {rank} ({hello.get('pid')} on {hello.get('host')})"
            self._break(f"{who} ended without reporting a status")

    def _fail(self, reason: str) -> None:
        with self._changed:
            self.reason = self.reason or reason
            self._changed.notify_all()

    def _break(self, reason: str) -> None:
        if self.reason:
            return
        self._fail(reason)
        if not self._closing.wait(ABORT_GRACE_SECONDS):
            self.abort(self.reason)


def keep_alive(link: socket.socket) -> None:
    """Send small messages at once, and detect a node that vanished within a minute."""
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def read_line(lines: IO[bytes], limit: int = LINE_BYTES) -> bytes:
    """Return a line, at most its first `limit` bytes; empty at the end of the connection, however it ended."""
    with contextlib.suppress(OSError):
        return lines.readline(limit)
    return b""


def parse(line: bytes) -> dict[str, Any]:
    """Return a message; empty where the line is none."""
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(value := json.loads(line), dict):
            return value
    return {}


def _close(link: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be closed already
        link.shutdown(socket.SHUT_RDWR)
    link.close()
