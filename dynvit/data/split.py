"""The images of a data set that are used, in a fixed order, and checks of what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dynvit.config.data import Data
from dynvit.data.listing.left_out import Remark
from dynvit.data.sampling import stratified_subset
from dynvit.data.source import ImageSource, Split


@dataclass(frozen=True)
class IndexedSplit:
    """The images of a split that are used, in stratified order."""

    source: ImageSource
    order: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, split: Split, limit: int | None) -> IndexedSplit:
        order = stratified_subset(split.labels, limit)
        return cls(split.source, order, split.labels[order])

    def __len__(self) -> int:
        return len(self.order)

    def read(self, index: int) -> bytes:
        return self.source.read(int(self.order[index]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.order[index]))


@dataclass(frozen=True)
class DatasetIndex:
    """Both splits of a set of files, and what there is to know about them."""

    classes: tuple[str, ...]
    train: IndexedSplit
    val: IndexedSplit
    choosing: IndexedSplit | None = None
    """Training images on which the best epoch is chosen."""
    remarks: tuple[Remark, ...] = ()
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Tar files of which a part cannot be read, with the reason."""


def check_expected(data: Data, classes: int, images: int) -> None:
    """Raise ValueError if `data.classes` or `data.images` differ from what was found."""
    if data.classes is not None and data.classes != classes:
        raise ValueError(f"data.classes expects {data.classes} classes, {data.name} has {classes}")
    if data.images is not None and data.images != images:
        raise ValueError(f"data.images expects {data.images} training images, {data.name} has {images}")
