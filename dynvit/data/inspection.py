"""A look at a data set before anybody trains on it: what is there, whether it fits, whether its images can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dynvit.data.class_subset import of_decoded, of_split
from dynvit.data.corrupt import DAMAGED, decoded
from dynvit.data.listing import Split, expected, same_classes, splits
from dynvit.data.sampling import check_batch, mixed_order

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data

SAMPLE = 64
"""Images of each split that are decoded, evenly over the classes."""
Finding = tuple[str, str, str]
"""fine, note or attention; what was found; what to do."""
TROUBLE = (OSError, ValueError, ImportError, RuntimeError)
"""What reading a set may raise; the words say which places were tried."""


def inspect(data: Data, batch_size: int) -> Iterator[Finding]:
    """Count, compare with what the config expects, decode a sample."""
    try:
        if data.name in ("digits", "cifar10", "cifar100"):
            yield from _decoded(data, batch_size)
        else:
            yield from _files(data, batch_size)
    except TROUBLE as error:
        yield "attention", str(error), "" if data.root else "set data.root or DYNVIT_DATA"


def _decoded(data: Data, batch_size: int) -> Iterator[Finding]:
    from dynvit.data.formats import cifar, digits

    found = of_decoded(digits.decode(data.image_size) if data.name == "digits" else cifar.decode(data), data)
    yield "fine", f"training: {_counts(found.train_labels.numpy(), found.classes)}", ""
    yield "fine", f"validation: {_counts(found.val_labels.numpy(), found.classes)}", ""
    yield from _fits(data, found.classes, len(found.train_labels), batch_size)


def _files(data: Data, batch_size: int) -> Iterator[Finding]:
    whole = splits(data)
    train, val = (of_split(split, data) for split in whole)
    for split in (train, val):
        yield "fine", f"{split.name}: {_counts(split.labels, len(split.classes))}", ""
        yield from _empty(split)
    try:
        same_classes(*whole)
    except ValueError as error:
        yield "attention", str(error), "both splits need the same classes"
    yield from _fits(data, len(train.classes), len(train.labels), batch_size)
    for split in (train, val):
        yield from _sample(split, data)


def _counts(labels: NDArray[np.int64], classes: int) -> str:
    each = np.bincount(labels, minlength=classes)
    told = f"{each.min()}" if each.min() == each.max() else f"{each.min()} to {each.max()}"
    return f"{len(labels)} images in {classes} classes, {told} each"


def _empty(split: Split) -> Iterator[Finding]:
    each = np.bincount(split.labels, minlength=len(split.classes))
    empty = [name for name, count in zip(split.classes, each, strict=False) if not count]
    if empty:
        yield "attention", f"{split.name}: no image of {_some(empty)}", "take the class out, or add its images"


def _fits(data: Data, classes: int, images: int, batch_size: int) -> Iterator[Finding]:
    try:
        expected(data, classes, images)
        check_batch(min(images, data.limit or images), batch_size, data.name)
    except ValueError as error:
        yield "attention", str(error), "another root, or another expectation in the study"


def _sample(split: Split, data: Data) -> Iterator[Finding]:
    chosen = mixed_order(split.labels)[:SAMPLE]
    sides, bad = [], []
    for index in chosen:
        try:
            sides.append(min(decoded(split.source.read(int(index))).size))
        except DAMAGED:
            bad.append(split.source.name(int(index)))
    if bad:
        level = "attention" if len(bad) > data.max_corrupt else "note"
        text = f"{split.name}: {len(bad)} of {len(chosen)} sampled images cannot be read: {_some(bad)}"
        yield level, text, f"data.max_corrupt is {data.max_corrupt}"
    if sides:
        span = f"{min(sides)}" if min(sides) == max(sides) else f"{min(sides)} to {max(sides)}"
        text = f"{split.name}: {len(sides)} sampled images, shorter side {span} pixels, used at {data.image_size}"
        enlarged = float(np.median(sides)) < data.image_size
        yield ("note", text, "most are enlarged") if enlarged else ("fine", text, "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
