"""Fixed orders and subsets that are even over the classes; no seed of a trial plays a part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Part = tuple[int, int]
"""rank and world: which share of a batch, of how many."""
WHOLE: Part = (0, 1)
CONSTANT = 20_240_811  # every split and subset of this project is drawn with it


def mixed_order(labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """All indices, shuffled, so arranged that every prefix holds the classes as evenly as can be."""
    labels = np.asarray(labels)
    shuffled = np.random.RandomState(CONSTANT).permutation(len(labels))  # the one stream numpy promises never to change
    rank = np.empty(len(labels), dtype=np.int64)  # how many of its class stand before an image
    for label in np.unique(labels):
        own = shuffled[labels[shuffled] == label]
        rank[own] = np.arange(len(own))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def limited(labels: Sequence[int] | NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """Indices of `limit` images (all if None) in mixed order."""
    if limit is not None and limit < 1:
        raise ValueError(f"a limit must leave at least one image, got {limit}")
    return mixed_order(labels)[:limit]


def repeated(order: Tensor, copies: int) -> Tensor:
    """The order with so many copies of each image side by side, cut to the same length (repeated augmentation)."""
    return order.repeat_interleave(copies)[: len(order)] if copies > 1 else order


def share(size: int, part: Part) -> slice:
    """The places in a batch of `size` that are a rank's. Equal shares, so that the mean of means is the mean."""
    rank, world = part
    if size % world:
        raise ValueError(f"train.batch_size {size} cannot be shared evenly by {world} processes")
    return slice(rank * size // world, (rank + 1) * size // world)


def check_batch(images: int, batch_size: int, what: str) -> None:
    if batch_size < 1:
        raise ValueError(f"train.batch_size must be at least 1, got {batch_size}")
    if images < batch_size:
        raise ValueError(f"{what} has {images} training images, fewer than one batch of {batch_size}")
