"""Inspection of a data set before training: what is there, whether it fits the config, whether images decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dynvit.config.data import KNOWN_SETS, Data
from dynvit.data.class_subset import select_split_classes
from dynvit.data.corrupt import DECODE_ERRORS, decode_image
from dynvit.data.factory import decode_known, read_splits
from dynvit.data.sampling import check_batch, stratified_order
from dynvit.data.source import Split
from dynvit.data.split import check_expected, check_same_classes

SAMPLE = 64
"""Images of each split that are decoded, balanced over the classes."""
Finding = tuple[str, str, str]
"""fine, note or attention; what was found; what to do."""
READ_ERRORS = (OSError, ValueError, ImportError, RuntimeError)
"""What reading a set may raise; the messages name the places that were tried."""


def inspect_data(data: Data, batch_size: int) -> Iterator[Finding]:
    """Count images, compare with what the config expects, decode a sample."""
    try:
        yield from (_known if data.name in KNOWN_SETS else _files)(data, batch_size)
    except READ_ERRORS as error:
        yield "attention", str(error), "" if data.root else "set data.root or DYNVIT_DATA"


def _known(data: Data, batch_size: int) -> Iterator[Finding]:
    found = decode_known(data)
    yield "fine", f"training: {_counts(found.train_labels.numpy(), found.classes)}", ""
    yield "fine", f"validation: {_counts(found.val_labels.numpy(), found.classes)}", ""
    yield from _check_config(data, found.classes, len(found.train_labels), batch_size)


def _files(data: Data, batch_size: int) -> Iterator[Finding]:
    whole = read_splits(data)
    train, val = (select_split_classes(split, data) for split in whole)
    for split in (train, val):
        yield "fine", f"{split.name}: {_counts(split.labels, len(split.classes))}", ""
        yield from _empty_classes(split)
    try:
        check_same_classes(*whole)
    except ValueError as error:
        yield "attention", str(error), "both splits need the same classes"
    yield from _check_config(data, len(train.classes), len(train.labels), batch_size)
    for split in (train, val):
        yield from _decode_sample(split, data)


def _counts(labels: NDArray[np.int64], classes: int) -> str:
    each = np.bincount(labels, minlength=classes)
    return f"{len(labels)} images in {classes} classes, {_range(each)} each"


def _range(values: Sequence[int] | NDArray[np.int64]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _empty_classes(split: Split) -> Iterator[Finding]:
    each = np.bincount(split.labels, minlength=len(split.classes))
    empty = [name for name, count in zip(split.classes, each, strict=False) if not count]
    if empty:
        yield "attention", f"{split.name}: no image of {_first(empty)}", "remove the class, or add its images"


def _check_config(data: Data, classes: int, images: int, batch_size: int) -> Iterator[Finding]:
    try:
        check_expected(data, classes, images)
        check_batch(min(images, data.limit or images), batch_size, data.name)
    except ValueError as error:
        yield "attention", str(error), "set another root, or other expectations in the study"


def _decode_sample(split: Split, data: Data) -> Iterator[Finding]:
    chosen = stratified_order(split.labels)[:SAMPLE]
    sides, corrupt = [], []
    for index in chosen:
        try:
            sides.append(min(decode_image(split.source.read(int(index))).size))
        except DECODE_ERRORS:
            corrupt.append(split.source.name(int(index)))
    if corrupt:
        level = "attention" if len(corrupt) > data.max_corrupt else "note"
        text = f"{split.name}: {len(corrupt)} of {len(chosen)} sampled images cannot be read: {_first(corrupt)}"
        yield level, text, f"data.max_corrupt is {data.max_corrupt}"
    if sides:
        text = f"{split.name}: {len(sides)} sampled images, shorter side {_range(sides)} pixels, used at "
        text += f"{data.image_size}"
        enlarged = float(np.median(sides)) < data.image_size
        yield ("note", text, "most are enlarged") if enlarged else ("fine", text, "")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
