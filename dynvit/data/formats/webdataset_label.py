"""The label of a sample in a WebDataset shard: its `.cls`, or the field `label` of its `.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from dynvit.data.listing.archive import Stored
from dynvit.data.listing.names import ending, shown

LABELS = ("cls", "json")
"""Endings of files with a label, the preferred first."""
MAX_LABEL = 2**24
"""Bytes of a file with a label; a .json may hold more beside it."""
NO_LABEL = (ValueError, TypeError, OverflowError, RecursionError)
"""What reading a label from something else raises."""


def label_of_sample(parts: dict[str, Stored], file: IO[bytes]) -> int | None:
    """Return the label in a sample's .cls, else in its .json, or None. Raises ValueError where they contradict."""
    plain, info = (parts.get(end) for end in LABELS)
    if plain is None or info is None:
        return next((_label(stored, file) for stored in (plain, info) if stored), None)
    label = _label(plain, file)
    for other in _beside(info, file):
        if other != label:
            raise ValueError(
                f"{file.name}: {shown(plain.path)} holds the label {label} and {shown(info.path)} the label {other}: "
                "correct one of them"
            )
    return label


def _label(stored: Stored, file: IO[bytes]) -> int | None:
    """Return the label in a file, or None for a .json without."""
    try:
        values = _values(stored, file)
        if len(values) > 1:
            raise ValueError(f"it has the key label {len(values)} times")
        return _whole(values[0]) if values else None
    except NO_LABEL as error:
        raise ValueError(f"{file.name}:{shown(stored.path)} holds no label: {error}") from error


def _beside(info: Stored, file: IO[bytes]) -> Iterator[int]:
    """Yield the whole numbers that are labels in a .json beside a .cls; it may as well be for something else."""
    values = []
    with suppress(*NO_LABEL):
        values = _values(info, file)
    for value in values:
        with suppress(*NO_LABEL):
            if isinstance(value, int | float):
                yield _whole(value)


def _values(stored: Stored, file: IO[bytes]) -> list[Any]:
    """Return what a .cls holds, or every label of the object in a .json; a plain dict would have the last one only."""
    if stored.size > MAX_LABEL:
        raise ValueError(f"{stored.size} bytes")
    value = json.loads(os.pread(file.fileno(), stored.size, stored.offset), object_pairs_hook=tuple)
    if ending(stored.path) != "json":
        return [value]
    return [held for key, held in value if key == "label"] if isinstance(value, tuple) else []


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError(f"{value} is no whole number")
    return int(value)
