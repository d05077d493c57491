"""Checks of what was found of a data set, each with the split and its place in the error, and what to remark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from dynvit.data.listing.left_out import Remark
from dynvit.data.listing.names import listed, look, natural_key, normalized
from dynvit.data.source import Listing, Split


def check_split(split: Split) -> None:
    """Raise ValueError for a split without images, with images of one class only, with labels beyond its classes, or
    with two names of classes that differ in how accents are encoded."""
    own = hasattr(split.source, "function")  # has returned them
    if not len(split.labels) and own:
        raise ValueError(f"{split.name}: {split.place} returned no images for {split.name}")
    if not len(split.labels):
        what = "images with a label" if split.class_list else "images in class folders"
        raise ValueError(f"{split.name}: no {what} in {split.place}{split.lacks}")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= len(split.classes)))
    if len(wrong):
        names = listed([f"{split.labels[i]} of {split.source.name(int(i))}" for i in wrong])
        raise ValueError(
            f"{split.name}: {len(wrong)} labels are not from 0 to {len(split.classes) - 1}, as the classes are: {names}"
        )
    if len(present := np.unique(split.labels)) == 1:
        likely = f"its folders {listed(split.deeper)} look like the classes" if split.deeper else (
            "the images of all classes seem to lie in one folder, or the labels of all are the same"
        )  # fmt: skip
        raise ValueError(
            f"{split.name}: all {len(split.labels)} images in {split.place} are of one class, "
            f"{listed([split.classes[present[0]]])}: {likely}{split.lacks}"
        )
    for name, same in _alike(split.classes, normalized):
        pair = f"{name!a} and {same!a}"
        raise ValueError(f"{split.name}: the classes {pair} in {split.place} have the same name, encoded in two ways")


def same_classes(train: Split, val: Split) -> Split:
    """Return the validation split with the training split's numbers of classes, whose names may be encoded in two ways.

    Raises ValueError if the splits have different classes.
    """
    if train.classes == val.classes:
        return val
    numbers, ours = {normalized(name): i for i, name in enumerate(train.classes)}, [*map(normalized, val.classes)]
    if odd := sorted(numbers.keys() ^ set(ours)):
        alike = Counter(map(look, odd))
        names = [ascii(name) if alike[look(name)] > 1 else name for name in odd]
        raise ValueError(
            f"{len(train.classes)} classes in {train.name}, {len(val.classes)} in {val.name}; "
            f"not in both: {listed(names, 6)}{train.lacks}{val.lacks}"
        )
    return replace(val, classes=train.classes, labels=np.asarray([numbers[name] for name in ours])[val.labels])


def check_every_class(train: Split, val: Split) -> None:
    """Raise ValueError for classes without an image in a split; those of a list may be without image in both."""
    counts = [np.bincount(split.labels, minlength=len(split.classes)) for split in (train, val)]
    for split, own, other in zip((train, val), counts, counts[::-1], strict=True):
        if len(empty := np.flatnonzero((own == 0) & (other > 0 if split.class_list else True))):
            names = listed([split.classes[i] for i in empty])
            if hasattr(split.source, "function"):
                raise ValueError(
                    f"{split.name}: {split.place} returned no image of {len(empty)} of {len(own)} classes ({names}): "
                    f"labels that are numbers count from 0"
                )
            raise ValueError(f"{split.name}: no image of {len(empty)} classes ({names}) in {split.place}{split.lacks}")


def remarks(listing: Listing) -> Iterator[Remark]:
    """Yield what there is to know about a listing: what was left out, and what may be a mistake."""
    yield from listing.unused.remarks(listing.root)
    for split in (listing.train, listing.val):
        yield from split.left_out.remarks(split.name)
        yield from _remark(split, "files in two classes", split.doubled, "attention")
        yield from _remark(split, "folders with images below their class", split.deeper, "note")
        pairs = [f"{name!a} and {same!a}" for name, same in _alike(split.classes, look)]
        yield from _remark(split, "pairs of classes whose names look alike", pairs, "note")
    yield from _out_of_order(listing.train)
    if listing.train.class_list:
        used = {*listing.train.labels.tolist(), *listing.val.labels.tolist()}
        empty = [name for i, name in enumerate(listing.train.classes) if i not in used]
        yield from _remark(listing.train, "classes without an image in both splits", empty, "attention")


def _out_of_order(split: Split) -> Iterator[Remark]:
    """Yield a remark if classes are numbered in the order of text, 10 before 2: weights of training on a tar file, or
    those that count the classes by numbers in their names, then stand for other classes."""
    natural = sorted(split.classes, key=natural_key)
    moved = [name for name, other in zip(split.classes, natural, strict=True) if name != other]
    if moved and hasattr(split.source, "files") and [*split.classes] == sorted(split.classes):
        kind = "classes numbered in the order of text"
        ours, theirs = listed(split.classes, 4), listed(natural, 4)
        text = f"{split.name}: {len(moved)} {kind} ({ours}); tar files and timm have {theirs}"
        level = "attention" if all(name.isdecimal() for name in moved) else "note"
        yield Remark(split.name, kind, len(moved), text, level)


def _remark(split: Split, kind: str, names: Sequence[str], level: str) -> Iterator[Remark]:
    if names:
        yield Remark(split.name, kind, len(names), f"{split.name}: {len(names)} {kind} ({listed(names)})", level)


def _alike(names: Sequence[str], key: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    """Yield different names with the same key."""
    first: dict[str, str] = {}
    for name in names:
        same = first.setdefault(key(name), name)
        if same != name:
            yield same, name
