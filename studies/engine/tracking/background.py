"""Keep MLflow up to date while trials run, in a thread: a slow or absent server never delays a trial."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from studies.engine.tracking.mirror import Mirror

INTERVAL_SECONDS = 5.0
"""Between two updates, at least."""
PAUSE_FACTOR = 20
"""Pause after an update, in units of its duration: an update takes at most 1/20 of the time."""
JOIN_SECONDS = 60.0
"""To wait at the end for an update in progress."""


@contextmanager
def kept_up_to_date(mirror: Mirror) -> Iterator[None]:
    end = threading.Event()

    def run() -> None:
        pause = INTERVAL_SECONDS
        while not end.wait(pause):
            started = time.monotonic()
            mirror.update()
            pause = max(INTERVAL_SECONDS, PAUSE_FACTOR * (time.monotonic() - started))

    thread = threading.Thread(target=run, name="mlflow", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(JOIN_SECONDS)
