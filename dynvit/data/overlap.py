"""The same images twice. In both splits the same file is an error, a copy of an image a remark; in one split copies are
a remark, those in another class one that needs attention."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dynvit.data.decode import UnreadableImage
from dynvit.data.doubled_archives import doubled_archives
from dynvit.data.listing.cache import cached_of_all
from dynvit.data.listing.left_out import Remark
from dynvit.data.listing.names import listed, shown
from dynvit.data.listing.tar_members import TarMembers
from dynvit.data.sampling import stratified_order
from dynvit.data.source import FileSource, Listing, Split

Value = TypeVar("Value", bound=Hashable)
ALL = 100_000
"""Images of both splits up to which every validation image is compared, and the images within a split."""
SAMPLE = 1000
"""Validation images that are compared in larger sets, if asked for."""
FEW = 1000
"""Images of both splits that are compared anew by every trial: it takes no time."""
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


def copies(listing: Listing, sample: bool = False) -> list[Remark]:
    """Return remarks if validation images have the bytes of training images, or images those of another of their split.

    Only images of the same size are read. In large sets all images are left out of it, or with `sample` all but a
    sample of the validation images. What was found is kept while no file changes: the trials of a study share a set.
    """
    splits = (listing.train, listing.val)
    remarks = [remark for split in splits for remark in doubled_archives(split)]
    images = sum(len(split.source) for split in splits)
    if not _of_files(listing) or images < FEW or (images > ALL and not sample):  # to ask for their states takes longer
        return [*remarks, *_copied(listing, sample, [])]

    def found() -> dict[str, Any]:
        unread: list[str] = []
        return {"remarks": list(_copied(listing, sample, unread)), "damage": unread}

    more = repr([sample, *((split.name, hashlib.sha256(split.labels.tobytes()).hexdigest()) for split in splits)])
    files = (file for split in splits for file in _source(split).files)
    return [*remarks, *(Remark(*kept) for kept in cached_of_all(files, "all copies", more, found)["remarks"])]


def _copied(listing: Listing, sample: bool, unread: list[str]) -> Iterator[Remark]:
    """unread: takes the images that cannot be read."""
    held = getattr(listing.train.source, "held", None)  # of own code; others are read one by one, for a sample only
    if not (_of_files(listing) or held or (sample and held is False)):
        return
    train, val = listing.train, listing.val
    indices: Iterable[int] = range(len(val.source))
    if large := len(train.source) + len(val.source) > ALL:
        indices = stratified_order(val.labels)[:SAMPLE].tolist() if sample else ()
    if not (compared := _sizes(_source(val), indices, unread)):
        return
    others = _sizes(_source(train), range(len(train.source)), unread)
    both = {*compared.values()} & {*others.values()}
    found = []
    for split, sizes in ((train, others), (val, compared)):
        read = both if large else both | {size for size, count in Counter(sizes.values()).items() if count > 1}
        found.append(_digests(_source(split), alike := [i for i, size in sizes.items() if size in read]))
        unread += [split.source.name(i) for i in alike if i not in found[-1]]
    yield from _in_both(val, *found, len(compared))
    if not large:
        for split, digests in zip((train, val), found, strict=True):
            yield from _in_two_classes(split, digests)
            yield from _in_one_class(split, digests)


def _in_both(val: Split, of_train: Mapping[int, bytes], of_val: Mapping[int, bytes], compared: int) -> Iterator[Remark]:
    """Yield a remark if validation images have the digest of a training image."""
    known = {*of_train.values()}
    if names := [val.source.name(i) for i, digest in of_val.items() if digest in known]:
        kind = "validation images with the bytes of a training image"
        text = f"{val.name}: {len(names)} of {compared} {kind} ({listed(names)})"
        level = "attention" if len(names) > MANY * compared else "note"
        yield Remark(val.name, kind, len(names), text, level)


def _in_two_classes(split: Split, digests: Mapping[int, bytes]) -> Iterator[Remark]:
    """Yield a remark for images of different classes with the same bytes; the same file in two is remarked by name."""
    several, source = _of_several(digests, split.labels), _source(split)
    groups: dict[bytes, list[int]] = {}
    for i in sorted(digests):
        if digests[i] in several:
            groups.setdefault(digests[i], []).append(i)
    doubles = [some for some in groups.values() if len({_place(source, i) for i in some}) > 1]
    if names := [source.name(i) for some in doubles for i in some]:
        kind = "images with the bytes of an image of another class"
        yield Remark(split.name, kind, len(names), f"{split.name}: {len(names)} {kind} ({listed(names)})", "attention")


def _in_one_class(split: Split, digests: Mapping[int, bytes]) -> Iterator[Remark]:
    """Yield a remark for images of a class with the same bytes: a note, as images may be repeated on purpose."""
    source, first = _source(split), {(digests[i], int(split.labels[i])): i for i in sorted(digests, reverse=True)}
    again = [i for i in sorted(digests) if (one := first[digests[i], int(split.labels[i])]) != i
             and _place(source, i) != _place(source, one)]  # fmt: skip
    if names := [source.name(i) for i in again]:
        kind = "images with the bytes of another one of their class"
        yield Remark(split.name, kind, len(names), f"{split.name}: {len(names)} {kind} ({listed(names)})", "note")


def _of_several(values: Mapping[int, Value], labels: NDArray[np.int64]) -> set[Value]:
    """Return the values that images of more than one class have. values: by index of the image."""
    first: dict[Value, int] = {}
    return {value for i, value in values.items() if first.setdefault(value, int(labels[i])) != labels[i]}


def _place(source: FileSource, index: int) -> tuple[int, int]:
    """Return what two names of the same stored image share."""
    if isinstance(source, TarMembers):
        return source.members[index].tar, source.members[index].offset
    files: Sequence[str] = getattr(source, "files", ())
    return _identity(files[index]) if files else (index, 0)


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


def _sizes(source: FileSource, indices: Iterable[int], unread: list[str]) -> dict[int, int]:
    """Return the sizes of images that are not empty; what is wrong with the others is found where they are decoded."""
    sizes = {}
    for i in indices:
        try:
            sizes[i] = source.size(i)
        except OSError:
            unread.append(source.name(i))
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
