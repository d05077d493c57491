"""From a config to the batches of its data set."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dynvit.config.data import KNOWN_SETS, Data
from dynvit.data import in_memory
from dynvit.data.batches import Batches
from dynvit.data.checks import check_every_class, check_split, remarks, same_classes
from dynvit.data.class_subset import choose_apart, choose_split_apart, select_classes, select_split_classes
from dynvit.data.formats import cifar, digits, huggingface, image_folder, own, tar, webdataset
from dynvit.data.overlap import check_apart, copies
from dynvit.data.source import Listing, Split
from dynvit.data.split import DatasetIndex, IndexedSplit, check_expected
from dynvit.data.streaming import StreamingBatches

READERS: dict[str, Callable[[Data], Listing]] = {
    "folder": image_folder.splits,
    "tar": tar.splits,
    "wds": webdataset.splits,
    "hfds": huggingface.splits,
}

FINDERS: dict[str, Callable[[Data], list[Path]]] = {
    "folder": image_folder.find_splits,
    "tar": tar.find_splits,
    "wds": webdataset.find_splits,
}
"""Of sets that are folders of files: where their two splits are, in far less time than a listing takes."""


def load_data(data: Data, batch_size: int, validation_batch_size: int, seed: int, device: str) -> Batches:
    """Load the data set of a config.

    Raises:
        ValueError: what is found differs from what the config expects.
        FileNotFoundError: the files are not there; the message says how to get them.
    """
    if data.name in KNOWN_SETS:
        decoded = decode_known(data)
        check_expected(data, decoded.classes, len(decoded.train_images))
        decoded = choose_apart(decoded, data)
    else:
        index = index_dataset(data)
        if not in_memory.fits(data, len(index.train) + len(index.val)):
            return StreamingBatches(data, index, batch_size, validation_batch_size, seed, device)
        decoded = in_memory.decode(data, index)
    return in_memory.InMemoryBatches(decoded, data, batch_size, validation_batch_size, seed, device)


def decode_known(data: Data) -> in_memory.DecodedSet:
    """Decode a set that comes with a library, reduced to the classes of `data.labels`."""
    whole = digits.decode(data.image_size) if data.name == "digits" else cifar.decode(data)
    return select_classes(whole, data)


def index_dataset(data: Data) -> DatasetIndex:
    """List a set of files. Raises ValueError if the splits fit neither each other nor the config."""
    whole = checked(read_listing(data))
    train, val = select_split_classes(whole.train, data), select_split_classes(whole.val, data)
    check_every_class(train, val)
    check_expected(data, len(train.classes), len(train.labels))
    kept, choosing = choose_split_apart(train, data)
    return DatasetIndex(
        train.classes,
        IndexedSplit.of(kept, data.limit),
        IndexedSplit.of(val, data.val_limit),
        choosing and IndexedSplit.of(choosing, None),
        (*remarks(whole), *copies(whole)),
        {**train.damaged, **val.damaged},
    )


def checked(listing: Listing) -> Listing:
    """Return a listing whose splits have the same classes and no file in common. Raises ValueError for any other."""
    for split in (listing.train, listing.val):
        check_split(split)
    check_apart(listing)
    return replace(listing, val=same_classes(listing.train, listing.val))


def read_listing(data: Data) -> Listing:
    """List the training and the validation images of a set of files, or of own code, unchecked."""
    listing = READERS.get(data.name, own.splits)(data)
    if listing.train.name != listing.val.name or not listing.root:
        return listing
    return replace(listing, train=_by_path(listing.train, listing.root), val=_by_path(listing.val, listing.root))


def _by_path(split: Split, root: str) -> Split:
    """Return one of two splits of the same name, such as one/data and two/data, by a name that tells which it is."""
    return replace(split, name=os.path.relpath(split.place, root) + "/" * split.name.endswith("/"))
