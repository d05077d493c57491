"""Inspection of a data set before training: what is there, whether it fits the config, whether images decode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dynvit.config.data import KNOWN_SETS, Data
from dynvit.config.extensions import DATA_SETS
from dynvit.data.checks import check_every_class, remarks
from dynvit.data.class_subset import select_split_classes
from dynvit.data.decode import RANGES, READ_ERRORS, Facts, decode_with_facts
from dynvit.data.factory import checked, decode_known, read_listing
from dynvit.data.in_memory import fits
from dynvit.data.listing.names import listed
from dynvit.data.overlap import copies
from dynvit.data.randaugment import Policy
from dynvit.data.sampling import check_batch, stratified_order, trained_on
from dynvit.data.source import Split
from dynvit.data.split import check_expected
from dynvit.data.streaming import check_streamed

SAMPLE = 64
"""Images of each split that are decoded, balanced over the classes."""
DARK = 32
"""Images of a wide range none of which reaches this of 255 hold 8 or 12 bits in 16."""
Finding = tuple[str, str, str]
"""fine, note or attention; what was found; what to do."""


def inspect_data(data: Data, batch_size: int) -> Iterator[Finding]:
    """Count images, compare with what the config expects, decode a sample. Whatever reading raises is a finding."""
    try:
        yield from (_known if data.name in KNOWN_SETS else _files)(data, batch_size)
    except Exception as error:  # a library, or the disk: the messages name the places that were tried
        kind = "" if isinstance(error, (OSError, ValueError, ImportError)) else f"{type(error).__name__}: "
        text = f"{kind}{error}".encode(errors="backslashreplace").decode()  # names on disk need not be UTF-8
        elsewhere = data.root or data.name in DATA_SETS or data.name == "hfds"
        yield "attention", text, "" if elsewhere else "set data.root or DYNVIT_DATA"


def _known(data: Data, batch_size: int) -> Iterator[Finding]:
    found = decode_known(data)
    yield "fine", f"training: {_counts(found.train_labels.numpy(), found.classes)}", ""
    yield "fine", f"validation: {_counts(found.val_labels.numpy(), found.classes)}", ""
    yield from _check_config(data, found.classes, len(found.train_labels), len(found.val_labels), batch_size)


def _files(data: Data, batch_size: int) -> Iterator[Finding]:
    listing = read_listing(data)
    for split in (listing.train, listing.val):
        if len(split.labels) and 0 <= split.labels.min() <= split.labels.max() < len(split.classes):
            chosen = select_split_classes(split, data)
            yield "fine", f"{split.name}: {_counts(chosen.labels, len(chosen.classes))}", ""
    yield from ((remark.level, remark.text, "") for remark in remarks(listing))
    try:
        listing = checked(listing)
        train, val = (select_split_classes(split, data) for split in (listing.train, listing.val))
        check_every_class(train, val)
    except ValueError as error:
        yield "attention", str(error), ""
        return
    yield from ((remark.level, remark.text, "") for remark in copies(listing, sample=True))
    damaged = {**train.damaged, **val.damaged}
    for tar, reason in damaged.items():
        yield _level(len(damaged), data), f"{tar} is damaged: {reason}", f"data.max_corrupt is {data.max_corrupt}"
    yield from _check_config(data, len(train.classes), len(train.labels), len(val.labels), batch_size)
    for split in (train, val):
        yield from _decode_sample(split, data)


def _level(corrupt: int, data: Data) -> str:
    return "attention" if corrupt > data.max_corrupt else "note"


def _counts(labels: NDArray[np.int64], classes: int) -> str:
    each = np.bincount(labels, minlength=classes)
    return f"{len(labels)} images in {classes} classes, {_range(each)} each"


def _range(values: Sequence[int] | NDArray[np.int64]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _check_config(data: Data, classes: int, images: int, val: int, batch_size: int) -> Iterator[Finding]:
    """Check what a trial checks with the numbers of classes and of images that were found."""
    try:
        check_expected(data, classes, images)
        left = trained_on(images, data.choose)
        left, val = (min(count, limit or count) for count, limit in ((left, data.limit), (val, data.val_limit)))
        check_batch(left, batch_size, data.name)
    except ValueError as error:
        yield "attention", str(error), "set another root, or other expectations in the study"
        return
    kept = data.name in KNOWN_SETS or fits(data, left + val)
    try:
        if not kept:
            check_streamed(data)
        elif data.augment.auto:
            Policy.parse(data.augment.auto)
    except ValueError as error:
        yield "attention", str(error), f"the images are {'' if kept else 'not '}kept in memory"


def _decode_sample(split: Split, data: Data) -> Iterator[Finding]:
    chosen = stratified_order(split.labels)[:SAMPLE]
    corrupt, found = [], []
    for index in map(int, chosen):
        name = split.source.name(index)
        try:
            image, facts = decode_with_facts(split.source.read(index))
        except READ_ERRORS as error:
            corrupt.append(name)
            reason = str(error)
            continue
        found.append((name, min(image.size), max(most for _, most in image.getextrema()), facts))
    if corrupt:
        text = f"{split.name}: {len(corrupt)} of {len(chosen)} sampled images cannot be read: {listed(corrupt)}"
        yield _level(len(corrupt), data), text, f"{reason}; data.max_corrupt is {data.max_corrupt}"
    yield from ((level, f"{split.name}: {text}", "") for level, text in _conversions(found))
    if sides := [side for _, side, *_ in found]:
        text = f"{split.name}: {len(sides)} sampled images, shorter side {_range(sides)} pixels, used at "
        text += f"{data.image_size}"
        enlarged = float(np.median(sides)) < data.image_size
        yield ("note", text, "most are enlarged") if enlarged else ("fine", text, "")


def _conversions(found: Sequence[tuple[str, int, int, Facts]]) -> Iterator[tuple[str, str]]:
    """Yield what the way to RGB of 8 bits makes of images. found: name, side, largest value in RGB, facts."""
    for mode, largest in sorted({(facts.mode, facts.largest) for *_, facts in found if facts.mode in RANGES}):
        brightest = [most for _, _, most, facts in found if (facts.mode, facts.largest) == (mode, largest)]
        text = f"{len(brightest)} sampled images have mode {mode}, 0 to {largest} becomes 0 to 255"
        dark = max(brightest) < DARK
        yield ("attention", f"{text}: the brightest is {max(brightest)}") if dark else ("note", text)
    if several := [name for name, *_, facts in found if facts.animated]:
        yield "note", f"of {len(several)} sampled images the first of several frames is used ({listed(several)})"
    if turned := [name for name, *_, facts in found if facts.turned]:
        text = "sampled images are stored turned (EXIF orientation), and used as stored"
        yield "note", f"{len(turned)} {text} ({listed(turned)})"
    if blank := [name for name, *_, facts in found if facts.blank]:
        text = "sampled images are of one color: what they show is in their transparency, which is dropped"
        yield "attention", f"{len(blank)} {text} ({listed(blank)})"
