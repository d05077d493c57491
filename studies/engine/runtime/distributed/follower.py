"""A rank above 0 of a trial: follows the decisions of rank 0 and writes nothing. Standard library, and the task."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.engine.core.files import read_json
from studies.engine.core.stop import StopRequest
from studies.engine.runtime.distributed import leader
from studies.engine.runtime.distributed.env import RankInfo
from studies.engine.runtime.heartbeat import ParentMonitor

EXIT_GRACE_SECONDS = 1.0
"""Seconds from the end of rank 0 to that of this process, to print an exception that results from it."""


class RankClient:
    """The connection to rank 0. A thread reads it, so that its end is noticed during a step."""

    def __init__(self, link: socket.socket, parents: ParentMonitor) -> None:
        self._link, self._ended = link, False
        self.address = link.getpeername()[0]
        self._values: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, name="link", daemon=True).start()
        threading.Thread(target=_end_with, args=(parents,), name="parents", daemon=True).start()

    def take(self, kind: str) -> Any:
        """Return the next message's value. Exits this process where rank 0 ends the attempt."""
        message = self._values.get()
        if kind not in message:
            os._exit(0)
        return message[kind]

    def send(self, message: dict[str, Any]) -> None:
        self._ended = True  # later messages are ignored
        with contextlib.suppress(OSError):
            self._link.sendall(json.dumps(message).encode() + b"\n")

    def _read(self) -> None:
        lines = self._link.makefile("rb")
        while line := leader.read_line(lines):
            self._values.put(leader.parse(line))
        self._values.put({})
        time.sleep(EXIT_GRACE_SECONDS)
        if not self._ended:
            os._exit(1)


def _end_with(parents: ParentMonitor) -> None:
    while not parents.dead():
        time.sleep(1.0)
    os._exit(1)


class FollowerContext:
    """The task's context on this rank: rank 0's decisions. Implements `dynvit.context.Context`."""

    def __init__(
        self, folder: Path, seed: int, device: str, ranks: RankInfo, link: RankClient, checkpoint: str | None
    ) -> None:
        self.folder, self.seed, self.device = folder, seed, device
        self.rank, self.world, self.address = ranks.rank, ranks.world, link.address
        self._link, self._checkpoint = link, checkpoint

    @property
    def should_stop(self) -> bool:
        return bool(self.broadcast(None))

    def checkpoint_due(self) -> bool:
        return bool(self.broadcast(None))

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's value of the same call."""
        return self._link.take(leader.VALUE)

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        return None

    def save(self, write: Callable[[Path], None]) -> None:
        return None

    def save_artifact(self, name: str, data: bytes) -> None:
        return None

    def load(self) -> Path | None:
        return Path(self._checkpoint) if self._checkpoint else None

    def log_text(self, text: str) -> None:
        print(text, flush=True)


def run_follower(
    folder: Path, ranks: RankInfo, device: str, stop: StopRequest, parents: ParentMonitor, reason: Callable[..., str]
) -> int:
    """Run one attempt as a rank above 0; return the exit code. reason: describes an exception."""
    connection = _connect(folder, ranks, stop, parents)
    if connection is None:
        return 0
    link = RankClient(connection, parents)
    start = link.take(leader.START)
    try:
        from studies.engine.runtime import own_modules, task_loader

        spec = start["spec"]
        context = FollowerContext(folder, int(spec.get("seed", 0)), device, ranks, link, start["checkpoint"])
        task = own_modules.load(spec, folder.parents[1])
        task_loader.run_task(task, spec["config"], context)
        link.send({leader.DONE: True})
    except BaseException as error:
        if any(cls.__name__ == "Stopped" for cls in type(error).__mro__):
            link.send({leader.DONE: True})
            return 0
        traceback.print_exc()
        link.send({leader.ERROR: reason(error), "trace": traceback.format_exc()[-leader.LINE_BYTES // 8 :]})
        return 1
    return 0


def _connect(folder: Path, ranks: RankInfo, stop: StopRequest, parents: ParentMonitor) -> socket.socket | None:
    """Wait for rank 0 to publish its address (half a minute on a slow network drive), then connect."""
    deadline = time.monotonic() + leader.RENDEZVOUS_SECONDS
    while time.monotonic() < deadline and not stop and not parents.dead():
        where = read_json(leader.rendezvous_file(folder, ranks.rendezvous))
        if where is not None:
            try:
                link = socket.create_connection((where["address"], int(where["port"])), timeout=10)
            except OSError:
                time.sleep(0.5)
                continue
            link.settimeout(None)
            leader.keep_alive(link)
            hello = {"token": where["token"], "rank": ranks.rank, "host": socket.gethostname(), "pid": os.getpid()}
            link.sendall(json.dumps(hello).encode() + b"\n")
            return link
        time.sleep(0.05)
    return None
