"""Labels as own code or a hub gives them, names or numbers, and the classes that they count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Subset

from dynvit.config.option_checks import did_you_mean
from dynvit.data.listing.names import same_names, shown

MAX_CLASSES = 1_000_000
"""A label beyond it is none of a class."""


def class_lists(label: str, returned: Sequence[Any]) -> list[tuple[str, ...] | None]:
    """Return for each split the names of the classes that its labels count, or None."""
    if len(returned) == 3:
        return [_names(label, returned[2])] * 2
    lists = []
    for part in returned:
        whole = part.dataset if isinstance(part, Subset) else part
        changed = getattr(whole, "target_transform", None) is not None  # its labels are other numbers than its classes'
        lists.append(None if changed else _names(label, getattr(whole, "classes", None)))
    if None not in lists and lists[0] != lists[1]:
        return lists
    return [None if isinstance(returned[0], Subset) else lists[0]] * 2  # of a Subset's classes some may be left out


def _names(label: str, classes: Any) -> tuple[str, ...] | None:
    if isinstance(classes, str) or not (classes is None or hasattr(classes, "__iter__")):
        raise ValueError(f"{label} returned the classes {classes!r}: classes are a list with the name of each")
    return None if classes is None else tuple(map(str, classes))


def number_classes(
    label: str, registered: int | None, named: Sequence[tuple[str, ...] | None], labels: Sequence[Sequence[Any]]
) -> tuple[list[tuple[str, ...]], list[NDArray[np.int64]]]:
    """Return for each split the names of its classes, and its labels as their numbers. registered: how many are."""
    plain = [plain_labels(label, each) for each in labels]
    every = [value for each in plain for value in each]
    words = any(isinstance(value, str) for value in every)
    if not words and (odd := [value for value in every if isinstance(value, bool) or value != int(value)]):
        raise ValueError(f"{label} returned the label {odd[0]!r}: a label is the number or the name of a class")
    if not words and (ids := [value for value in every if abs(value) > MAX_CLASSES]):
        raise ValueError(
            f"{label} returned the label {ids[0]!r}, and the numbers of classes go from 0 to {MAX_CLASSES} at most: "
            "return ids as names, such as str(id)"
        )
    most = registered or (int(max(every, default=-1)) + 1 if not words else 0)
    unnamed = tuple(sorted(set(map(str, every))) if words else map(str, range(most)))
    found = [unnamed if names is None else names for names in named]
    for names in found:
        if same := same_names(names):
            text = f"the names of the classes {same[0]} and {same[1]} are both {shown(names[same[1]])}"
            raise ValueError(f"{label}: {text}: give each class its own name")
        if registered not in (None, len(names)):
            raise ValueError(f"{label} is registered with {registered} classes and returned {len(names)}")
    if not words:
        return found, [np.asarray(each, dtype=np.int64).reshape(-1) for each in plain]
    numbers = []
    for names, each in zip(found, plain, strict=True):
        number = {name: i for i, name in enumerate(names)}
        for value in map(str, each):
            if value not in number:
                raise ValueError(f"{label} returned the label {value}, which is no class{did_you_mean(value, names)}")
        numbers.append(np.asarray([number[str(value)] for value in each], dtype=np.int64))
    return found, numbers


def plain_labels(label: str, labels: Sequence[Any]) -> list[Any]:
    """Return one number or name each. Raises ValueError for anything else, such as one-hot rows."""
    whole = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    for value in whole:
        rows = value.ndim > 0 if hasattr(value, "ndim") else hasattr(value, "__len__")
        if rows and not isinstance(value, str):
            kind = f"rows of {len(value)}" if not isinstance(value, dict) else "dicts"
            raise ValueError(f"{label} returned labels that are {kind}: labels are one number or name each")
    plain = [value.item() if hasattr(value, "item") else value for value in whole]
    if odd := [v for v in plain if not isinstance(v, str | int | float) or v != v or v in (math.inf, -math.inf)]:
        raise ValueError(f"{label} returned the label {odd[0]!r}: labels are one number or name each")
    return plain
