"""Ctrl-C: once requests save and stop, twice ends at once. SIGTERM acts like the first, and so does SIGHUP, but for a
command under `nohup`, which is to outlive its terminal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from studies.engine.core.stop import StopRequest

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handle_interrupts(stop: StopRequest) -> Iterator[None]:
    """Handle signals: the handler only sets a flag, or raises KeyboardInterrupt the second time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = 0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        stop.detach = stop.detach or not stop
        stop.request()
        if pressed > 1:
            raise KeyboardInterrupt

    hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    former = {number: signal.signal(number, on_signal) for number in SIGNALS if hung_up or number != signal.SIGHUP}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
