"""A data set of files, listed: the names, labels and bytes of both parts, whatever they are stored in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from dynvit.data.sampling import limited

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data


class Source(Protocol):
    """Images as they are stored. Any process may read any of them at any time."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded image. OSError or ValueError where it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """What a person would look for."""
        ...


@dataclass(frozen=True)
class Split:
    """Training or validation images as found, in the order of the source."""

    name: str
    classes: tuple[str, ...]
    source: Source
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Listing:
    """Those of a part that are used, in mixed order."""

    source: Source
    order: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.order)

    def read(self, index: int) -> bytes:
        return self.source.read(int(self.order[index]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.order[index]))


@dataclass(frozen=True)
class Tree:
    classes: tuple[str, ...]
    train: Listing
    val: Listing


def scan(data: Data) -> Tree:
    """List the files. ValueError where the parts do not fit each other or what the config expects."""
    from dynvit.data.class_subset import of_split

    train, val = splits(data)
    same_classes(train, val)
    train, val = of_split(train, data), of_split(val, data)
    expected(data, len(train.classes), len(train.labels))
    return Tree(train.classes, _listing(train, data.limit), _listing(val, data.val_limit))


def splits(data: Data) -> tuple[Split, Split]:
    """Everything that is there, without a look at whether it fits."""
    if data.name == "folder":
        from dynvit.data.formats.image_folder import splits as found
    elif data.name == "tar":
        from dynvit.data.formats.tar import splits as found
    elif data.name == "wds":
        from dynvit.data.formats.webdataset import splits as found
    else:
        from dynvit.data.formats.huggingface import splits as found
    return found(data)


def same_classes(train: Split, val: Split) -> None:
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise ValueError(
            f"{len(train.classes)} classes in {train.name}, {len(val.classes)} in {val.name}; "
            f"not in both: {', '.join(odd[:6])}" + (f" and {len(odd) - 6} more" if len(odd) > 6 else "")
        )


def expected(data: Data, classes: int, images: int) -> None:
    """What `data.classes` and `data.images` say against what is there."""
    if data.classes is not None and data.classes != classes:
        raise ValueError(f"data.classes expects {data.classes} classes, {data.name} has {classes}")
    if data.images is not None and data.images != images:
        raise ValueError(f"data.images expects {data.images} training images, {data.name} has {images}")


def _listing(part: Split, limit: int | None) -> Listing:
    order = limited(part.labels, limit)
    return Listing(part.source, order, part.labels[order])
