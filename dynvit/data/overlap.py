"""Validation images that are training images too: the same file is an error, a copy of an image a remark."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import numpy as np

from dynvit.data.decode import UnreadableImage
from dynvit.data.listing.left_out import Remark
from dynvit.data.listing.names import listed, shown
from dynvit.data.listing.tar_members import TarMembers
from dynvit.data.sampling import stratified_order
from dynvit.data.source import FileSource, Listing, Split

ALL = 100_000
"""Images of both splits up to which every validation image is compared."""
SAMPLE = 1000
"""Validation images that are compared in larger sets, if asked for."""
THREADS = 8
MANY = 0.1
"""Share of copies from which they need attention; CIFAR-100 has some."""


def check_apart(listing: Listing) -> None:
    """Raise ValueError if both splits read the same file, or tar files with the same content."""
    if not _of_files(listing):
        _check_paths(listing)
        return
    same = list(_shared(_source(listing.train), _source(listing.val)))
    if same:
        files = " is ".join(map(shown, same[0]))
        raise ValueError(f"{listing.train.name} and {listing.val.name} have {len(same)} files in common: {files}")
    if isinstance(listing.train.source, TarMembers):
        for one, other in _copies(listing.train.source.files, _source(listing.val).files):
            raise ValueError(
                f"{listing.train.name} and {listing.val.name} have tar files of the same content: {shown(one)} and "
                f"{shown(other)}"
            )


def _check_paths(listing: Listing) -> None:
    """Raise ValueError if images that own code gives by path are in both splits."""
    train, val = listing.train, listing.val
    path_of, other = (getattr(split.source, "path", None) for split in (train, val))
    if path_of is None or other is None:
        return
    ours = {path: i for i in range(len(train.source)) if (path := path_of(i))}
    both = [(i, path) for i in range(len(val.source) if ours else 0) if (path := other(i)) in ours]
    if both:
        i, path = both[0]
        first = f"{val.source.name(i)} is {train.source.name(ours[path])}, {shown(path)}"
        raise ValueError(f"{train.place}: train and val have {len(both)} files in common: {first}")


def copies(listing: Listing, sample: bool = False) -> Iterator[Remark]:
    """Yield a remark if validation images have the bytes of training images.

    Only images of the same size are read. In large sets all validation images are left out of it, or with `sample` all
    but a sample of them.
    """
    held = getattr(listing.train.source, "held", None)  # of own code; others are read one by one, for a sample only
    if not (_of_files(listing) or held or (sample and held is False)):
        return
    train, val = _source(listing.train), _source(listing.val)
    indices: Iterable[int] = range(len(val))
    if len(train) + len(val) > ALL:
        indices = stratified_order(listing.val.labels)[:SAMPLE].tolist() if sample else ()
    if not (compared := _sizes(val, indices)):
        return
    others = _sizes(train, range(len(train)))
    both = {*compared.values()} & {*others.values()}
    known = {*_digests(train, [i for i, size in others.items() if size in both]).values()}
    found = _digests(val, [i for i, size in compared.items() if size in both])
    if names := [val.name(i) for i, digest in found.items() if digest in known]:
        kind = "validation images with the bytes of a training image"
        text = f"{listing.val.name}: {len(names)} of {len(compared)} {kind} ({listed(names)})"
        level = "attention" if len(names) > MANY * len(compared) else "note"
        yield Remark(listing.val.name, kind, len(names), text, level)


def _of_files(listing: Listing) -> bool:
    return hasattr(listing.train.source, "files")


def _source(split: Split) -> FileSource:
    return cast(FileSource, split.source)


def _shared(train: FileSource, val: FileSource) -> Iterator[tuple[str, str]]:
    """Yield pairs of paths to the same file."""
    ours, others = val.inodes, train.inodes
    candidates = np.intersect1d(ours, others)
    of_train = {_identity(train.files[i]): train.files[i] for i in np.flatnonzero(np.isin(others, candidates))}
    for i in np.flatnonzero(np.isin(ours, candidates)):
        if same := of_train.get(_identity(val.files[i])):
            yield val.files[i], same


def _identity(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _copies(train: Sequence[str], val: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of files with the same content."""
    by_size: dict[int, list[str]] = {}
    for path in train:
        by_size.setdefault(os.stat(path).st_size, []).append(path)
    for path in val:
        for other in by_size.get(os.stat(path).st_size, ()):
            if filecmp.cmp(path, other, shallow=False):
                yield path, other


def _sizes(source: FileSource, indices: Iterable[int]) -> dict[int, int]:
    """Return the sizes of images that are not empty; what is wrong with the others is found where they are decoded."""
    sizes = {}
    for i in indices:
        with suppress(OSError):
            sizes[i] = source.size(i)
    return {i: size for i, size in sizes.items() if size}


def _digests(source: FileSource, indices: Sequence[int]) -> dict[int, bytes]:
    """Return a digest of each image that can be read."""

    def of_part(part: Sequence[int]) -> dict[int, bytes]:
        found = {}
        for i in part:
            with suppress(OSError, UnreadableImage):
                found[i] = hashlib.blake2b(_content(source.read(i)), digest_size=16).digest()
        return found

    threads: int = getattr(source, "threads", THREADS)
    with ThreadPoolExecutor(threads) as pool:  # waits for the disk, mostly
        parts = pool.map(of_part, (indices[k::threads] for k in range(threads)))
        return {i: digest for part in parts for i, digest in part.items()}


def _content(image: Any) -> bytes:
    """Return the bytes of an encoded image; of one of PIL its pixels, with what says how they are arranged."""
    return image if isinstance(image, bytes) else f"{image.mode} {image.size} ".encode() + image.tobytes()
