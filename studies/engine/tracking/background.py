"""MLflow kept up to date beside the running trials, by a thread: a slow or absent server never holds anything up."""

from __future__ import annotations

import threading
import time

from studies.engine.tracking.mirror import Mirror

EVERY, SHARE, PATIENCE = 5.0, 20, 60.0
"""Seconds between two updates, or SHARE times what the last one took; seconds to wait for one under way at the end."""


class Mirroring:
    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)

    def __enter__(self) -> Mirroring:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        pause = EVERY
        while not self._end.wait(pause):
            began = time.monotonic()
            self._mirror.update()
            pause = max(EVERY, SHARE * (time.monotonic() - began))
