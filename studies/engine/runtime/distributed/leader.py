"""Rank 0 of a trial that several processes train together; the other ranks are in `follower`. Standard library only.

Rank 0 is an ordinary worker. It publishes its address in the trial folder (a file named after this start); the others
connect and receive its decisions in order (which checkpoint to resume from, whether to save, whether to stop), so that
all ranks take the same steps and only rank 0 writes. A connection that closes early means that its process died, which
ends the attempt for all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.files import write_atomic
from studies.engine.runtime.distributed.env import RankInfo

RENDEZVOUS_SECONDS = float(os.environ.get("DYNVIT_RENDEZVOUS_SECONDS", "300"))
"""Seconds for all processes to connect: on a cluster they start on several nodes."""
ABORT_GRACE_SECONDS = 10.0
"""Seconds from the loss of a process until rank 0 is aborted."""
START, END, VALUE, ERROR, DONE = "start", "end", "value", "error", "done"


class RankLost(Exception):
    """One of the processes has ended; the text says which and how."""


def rendezvous_file(folder: Path, rendezvous: str) -> Path:
    """Return the file in which rank 0 of that start publishes its address."""
    return folder / f"rendezvous-{hashlib.sha256(rendezvous.encode()).hexdigest()[:12]}"


class RankServer:
    """Use as a context manager around the attempt; on exit, waiting ranks are asked to end."""

    def __init__(self, folder: Path, ranks: RankInfo) -> None:
        self.ranks = ranks
        self.world = ranks.world
        self.address = ranks.address or socket.gethostname()
        self.reason, self.traceback = "", ""
        """Why the attempt ended (empty while it runs), and the traceback of the process that failed."""
        self.broken = threading.Event()
        self.abort: Callable[[str], None] = lambda reason: None
        """Called ABORT_GRACE_SECONDS after a loss unless the attempt has ended by then; does not return."""
        self._file = rendezvous_file(folder, ranks.rendezvous)
        self._token = secrets.token_hex(16)
        self._links: dict[int, socket.socket] = {}
        self._names: dict[int, str] = {}
        self._done: set[int] = set()
        self._connected = threading.Condition()
        self._closing = threading.Event()
        self._server = socket.create_server(("", 0), backlog=self.world)

    def __enter__(self) -> RankServer:
        where = {"address": self.address, "port": self._server.getsockname()[1], "token": self._token}
        write_atomic(self._file, json.dumps(where), durable=False)
        threading.Thread(target=self._accept, name="rendezvous", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait(lambda: False, 10)  # ranks that are still starting get the end as well
        self._closing.set()
        self._send({END: True})
        self._file.unlink(missing_ok=True)
        for link in (*self._links.values(), self._server):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()

    # ---- for the attempt

    def wait_for_ranks(self, start: dict[str, Any], stopped: Callable[[], bool]) -> None:
        """Wait until all ranks have connected, then send them the start message."""
        if not self._wait(stopped, RENDEZVOUS_SECONDS) and not stopped():
            connected = f"{len(self._links) + 1} of {self.world} processes connected"
            raise RankLost(self._fail(f"{connected} within {RENDEZVOUS_SECONDS:g} s"))
        self._send({START: start})

    def share(self, value: Any) -> None:
        """Send a value to the others; RankLost where one of them is gone."""
        if self.broken.is_set():
            raise RankLost(self.reason)
        self._send({VALUE: value})

    def finish(self, seconds: float = 60.0) -> None:
        """Wait until the others have ended too."""
        deadline = time.monotonic() + seconds
        while len(self._done) < self.world - 1 and not self.broken.is_set() and time.monotonic() < deadline:
            time.sleep(0.02)

    def failed_rank(self, seconds: float) -> str:
        """Return, after a failure of rank 0, how another rank caused it; empty if none did."""
        return self.reason if self.broken.wait(seconds) else ""

    # ---- connections

    def _wait(self, stopped: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with self._connected:
            while len(self._links) < self.world - 1 and not self.broken.is_set():
                if stopped() or time.monotonic() > deadline:
                    return False
                self._connected.wait(0.1)
        return True

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        for link in list(self._links.values()):
            with contextlib.suppress(OSError):  # its reader thread notices the end
                link.sendall(line)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_rank, args=(link,), name="rendezvous", daemon=True).start()

    def _serve_rank(self, link: socket.socket) -> None:
        """Serve one other process until it ends."""
        keep_alive(link)
        with link.makefile("rb") as lines:
            hello = _parse(_line(lines))
            rank = hello.get("rank")
            if hello.get("token") != self._token or not isinstance(rank, int) or not 0 < rank < self.world:
                link.close()
                return
            with self._connected:
                self._links[rank] = link
                self._names[rank] = f"process {rank} ({hello.get('pid')} on {hello.get('host')})"
                self._connected.notify_all()
            while line := _line(lines):
                message = _parse(line)
                if DONE in message:
                    self._done.add(rank)
                if ERROR in message:
                    self.traceback = self.traceback or str(message.get("trace", ""))
                    self._break(str(message[ERROR]) if message[ERROR] == "oom" else f"process {rank}: {message[ERROR]}")
        if rank not in self._done and not self._closing.is_set():
            self._break(f"{self._names[rank]} ended without reporting a status")

    def _fail(self, reason: str) -> str:
        self.reason = self.reason or reason
        self.broken.set()
        return self.reason

    def _break(self, reason: str) -> None:
        if self.broken.is_set():
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


def _line(lines: Any) -> bytes:
    """Return a line; empty at the end of the connection, however it ended."""
    try:
        return bytes(lines.readline())
    except OSError:
        return b""


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
