"""system.jsonl of an attempt's folder: what its processes took of the machine, one line per sample.

It belongs to the attempt, not to the result: MLflow shows it, no table and no number depends on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from studies.engine.core.files import lines
from studies.engine.storage.records import is_moment, is_number
from studies.engine.storage.trial_folder import TrialFolder

NAME = "system.jsonl"


class Sample(NamedTuple):
    time: float
    values: dict[str, float]
    """By the names that MLflow has for them, without its ``system/``."""


def format_sample(sample: Sample) -> bytes:
    return json.dumps({"t": round(sample.time, 3), "m": sample.values}).encode() + b"\n"


def parse_sample(line: bytes) -> Sample | None:
    """Return None for a truncated or damaged line."""
    if not line.endswith(b"\n"):
        return None
    try:
        raw = json.loads(line)
        time, values = raw["t"], {name: float(value) for name, value in raw["m"].items() if is_number(value)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    fits = is_moment(time) and len(values) == len(raw["m"])
    plain = all(name.isascii() and name.isidentifier() and math.isfinite(values[name]) for name in values)
    return Sample(time, values) if fits and plain else None


def files(folder: TrialFolder) -> Iterator[Path]:
    """Yield the file of each attempt that has begun, whether it is there or not."""
    attempt = 0
    while folder.has_begun(attempt):
        yield folder.attempt_folder(attempt) / NAME
        attempt += 1


def new_samples(folder: TrialFolder, offsets: Mapping[str, int]) -> tuple[list[Sample], dict[str, int]]:
    """Return the samples after the byte offsets of each attempt, and the new offsets; an incomplete line is left for
    the next time."""
    samples, read = list[Sample](), dict(offsets)
    for file in files(folder):
        offset = offsets.get(file.parent.name, 0)
        new = list(lines(file, offset))
        if new and not new[-1].endswith(b"\n"):
            new.pop()
        if new:
            read[file.parent.name] = offset + sum(map(len, new))
            samples += filter(None, map(parse_sample, new))
    return samples, read
