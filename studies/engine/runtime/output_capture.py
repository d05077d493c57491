"""What surrounds one attempt: its output goes to its log, and how it can be interrupted where it does not listen."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from studies.engine.runtime.outcome import TimeLimitExceeded


@contextlib.contextmanager
def capture_output(log: Path, inline: bool) -> Iterator[None]:
    """Standard output and error go to the trial's log; in a process of its own also what C code and children write."""
    with open(log, "a", buffering=1, encoding="utf-8", errors="replace") as file:
        if inline:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
            return
        flush()
        kept = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            flush()
            for old, number in zip(kept, (1, 2), strict=True):
                os.dup2(old, number)
                os.close(old)


@contextlib.contextmanager
def timeout_interrupt(inline: bool) -> Iterator[Callable[[str], None] | None]:
    """In a process that does more, how to interrupt a trial that goes on after its time: Python code, that is."""
    if not inline or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield (lambda reason: None) if inline else None
        return
    former = signal.signal(signal.SIGALRM, _overtime)
    try:
        yield lambda reason: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, former)


def _overtime(number: int, frame: object) -> None:
    raise TimeLimitExceeded


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
