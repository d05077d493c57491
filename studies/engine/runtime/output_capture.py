"""Redirect an attempt's output to its log; interrupt an attempt that ignores its time limit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from studies.engine.runtime.outcome import TimeLimitExceeded


@contextlib.contextmanager
def capture_output(log: Path, inline: bool) -> Iterator[None]:
    """Redirect standard output and error to the log; in a separate process also those of C code and children."""
    with open(log, "a", buffering=1, encoding="utf-8", errors="replace") as file:
        if inline:
            with _logging_to(file), contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield
            return
        flush()
        saved = os.dup(1), os.dup(2)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            flush()
            for old, number in zip(saved, (1, 2), strict=True):
                os.dup2(old, number)
                os.close(old)


@contextlib.contextmanager
def _logging_to(file: IO[str]) -> Iterator[None]:
    """Let what `logging` prints go to the file, too. A handler keeps the stream that there was when it was made: one of
    the task's module would print to the terminal, one of an earlier trial to that trial's closed log."""
    printing = sys.stdout, sys.stderr
    before = {handler: handler.stream for handler in _handlers() if any(handler.stream is each for each in printing)}
    for handler in before:
        handler.setStream(file)
    try:
        yield
    finally:
        for handler in _handlers():
            if handler.stream is file:
                handler.setStream(before.get(handler, printing[1]))


def _handlers() -> set[Any]:
    """Return the handlers of `logging` that write to a stream; none where nobody has imported it."""
    if (logging := sys.modules.get("logging")) is None:
        return set()
    loggers = logging.root, *logging.root.manager.loggerDict.values()
    return {h for each in loggers for h in getattr(each, "handlers", ()) if isinstance(h, logging.StreamHandler)}


@contextlib.contextmanager
def timeout_interrupt(inline: bool) -> Iterator[Callable[[str], None] | None]:
    """Yield a function that interrupts an inline trial's Python code after its time limit; None outside inline mode."""
    if not inline or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield (lambda reason: None) if inline else None
        return
    former = signal.signal(signal.SIGALRM, _raise_time_limit)
    try:
        yield lambda reason: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, former)


def _raise_time_limit(number: int, frame: object) -> None:
    raise TimeLimitExceeded


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
