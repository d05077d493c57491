"""Matrix products that the published counts leave out: ``with exclude_from_macs(): scores = q @ k.mT``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

import torch


class Counter(Protocol):
    """A counter of operations; see ``dynvit.complexity``."""

    paused: int


# The active counters of this thread: a new thread starts with none.
COUNTERS: ContextVar[tuple[Counter, ...]] = ContextVar("dynvit_counters", default=())


def exclude_from_macs() -> AbstractContextManager[None]:
    """A context whose operations ``dynvit.complexity`` does not count; elsewhere, and compiled, it is nothing."""
    if torch.compiler.is_compiling():
        return nullcontext()
    counters = COUNTERS.get()
    return _paused(counters) if counters else nullcontext()


@contextmanager
def _paused(counters: tuple[Counter, ...]) -> Iterator[None]:
    for counter in counters:
        counter.paused += 1
    try:
        yield
    finally:
        for counter in counters:
            counter.paused -= 1
