"""events.jsonl: one line per logged step, and the attempt that wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from studies.engine.core.files import lines

_DECODER = json.JSONDecoder()


class Event(NamedTuple):
    """One line of events.jsonl."""

    time: float
    step: int
    metrics: dict[str, float]
    attempt: int = 0
    """Counts from 0."""


def format_event(event: Event) -> bytes:
    text = {"t": round(event.time, 3), "step": event.step, "a": event.attempt, "m": event.metrics}
    return json.dumps(text).encode() + b"\n"


def parse_event(line: bytes) -> Event | None:
    """Return None for a truncated or damaged line."""
    if not line.endswith(b"\n"):
        return None
    try:
        text = line.decode().strip(" \t\r\n")
        raw, end = _DECODER.raw_decode(text)  # json.loads takes half as long again
        time, step, attempt, metrics = float(raw["t"]), int(raw["step"]), raw.get("a", 0), raw["m"]
        values = {key: float(value) for key, value in metrics.items() if type(value) in (int, float)}
        "".join(values).encode()  # an escape may be half of a character
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    whole = end == len(text) and len(values) == len(metrics)
    fits = whole and abs(step) < 2**53 and type(attempt) is int and 0 <= attempt < 2**53
    return Event(time, step, values, attempt) if fits else None


def read_events(path: Path, offset: int = 0) -> Iterator[Event]:
    """Yield the events after a byte offset. Damaged lines are skipped, and what an attempt wrote after a later one."""
    return current_events(lines(path, offset))


def current_events(written: Iterable[bytes]) -> Iterator[Event]:
    latest = 0
    for line in written:
        event = parse_event(line)
        if event is not None and event.attempt >= latest:
            latest = event.attempt
            yield event
