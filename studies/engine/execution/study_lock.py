"""One driver per study folder: its lease, and stop requests from other processes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from studies.engine.core.files import lines, remove, write_atomic
from studies.engine.core.stop import StopRequest
from studies.engine.storage.lease import HEARTBEAT_SECONDS, Lease

CLAIM, STOP = "driver", "stop"


class StudyBusy(Exception):
    """Another driver works on this study; the text says which."""


def running_driver(folder: Path) -> dict[str, object] | None:
    """Return the live driver of a study folder: host, pid, time."""
    claim = Lease(folder / CLAIM)
    return claim.owner() if claim.is_alive() else None


def request_stop(folder: Path) -> bool:
    """Ask the live driver to have its trials save and stop; False where there is none."""
    held = running_driver(folder)
    if held is None:
        return False
    write_atomic(folder / STOP, str(held.get("token", "")), durable=False)
    return True


class StudyLock:
    """Context manager that holds the study folder; requests `stop` after `studies stop`."""

    def __init__(self, folder: Path, stop: StopRequest) -> None:
        self._folder, self._stop = folder, stop
        self._claim = Lease(folder / CLAIM)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self._token = ""

    def __enter__(self) -> StudyLock:
        self._folder.mkdir(parents=True, exist_ok=True)
        token = self._claim.acquire()
        if token is None:
            held = self._claim.owner() or {}
            since = time.strftime("%H:%M:%S", time.localtime(float(held.get("time", 0))))
            raise StudyBusy(f"is being run by process {held.get('pid')} on {held.get('host')} since {since}")
        self._token = token
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if self._claim.is_owner(self._token):  # else the request is for the driver that took over
            remove(self._folder / STOP)
        self._claim.release(self._token)

    def _run(self) -> None:
        touched = time.monotonic()
        while not self._end.wait(min(0.5, HEARTBEAT_SECONDS / 2)):
            if b"".join(lines(self._folder / STOP)).strip() == self._token.encode():
                self._stop.request()
            if time.monotonic() - touched >= HEARTBEAT_SECONDS:
                touched = time.monotonic()
                try:
                    if not self._claim.renew(self._token):
                        self._stop.request()  # another driver took over, as this one was suspended for long
                        return
                except OSError:
                    continue
