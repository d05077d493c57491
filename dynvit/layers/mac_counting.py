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
    macs: int
    products: int


# The active counters of this thread: a new thread starts with none.
COUNTERS: ContextVar[tuple[Counter, ...]] = ContextVar("dynvit_counters", default=())


def exclude_from_macs(counted: int = 0) -> AbstractContextManager[None]:
    """A context whose operations ``dynvit.complexity`` does not count; elsewhere, and compiled, it is nothing.

    counted: what to count in their place, an attention product that the paper computes and we do in another way.
    """
    if torch.compiler.is_compiling():
        return nullcontext()
    counters = COUNTERS.get()
    return _paused(counters, counted) if counters else nullcontext()


@contextmanager
def _paused(counters: tuple[Counter, ...], counted: int) -> Iterator[None]:
    for counter in counters:
        if not counter.paused:
            counter.macs += counted
            counter.products += counted
        counter.paused += 1
    try:
        yield
    finally:
        for counter in counters:
            counter.paused -= 1
