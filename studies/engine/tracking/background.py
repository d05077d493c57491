"""Keep MLflow up to date while trials run, in a thread: a slow or absent server never delays a trial."""

from __future__ import annotations

import threading
import time

from studies.engine.tracking.mirror import Mirror

INTERVAL_SECONDS = 5.0
"""Between two updates, at least."""
PAUSE_FACTOR = 20
"""Pause after an update, in units of its duration: an update takes at most 1/20 of the time."""
JOIN_SECONDS = 60.0
"""To wait at the end for an update in progress."""


class BackgroundMirror:
    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)

    def __enter__(self) -> BackgroundMirror:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        pause = INTERVAL_SECONDS
        while not self._end.wait(pause):
            started = time.monotonic()
            self._mirror.update()
            pause = max(INTERVAL_SECONDS, PAUSE_FACTOR * (time.monotonic() - started))
