"""Fixed orders and subsets that are balanced over the classes, independent of a trial's seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Shard = tuple[int, int]
"""rank and world size: which slice of a batch, of how many."""
SINGLE_PROCESS: Shard = (0, 1)
SPLIT_SEED = 20_240_811  # every split and subset of this project is drawn with it


def stratified_order(labels: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all indices, shuffled such that every prefix holds the classes as evenly as possible."""
    labels = np.asarray(labels)
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(
        len(labels)
    )  # the one stream numpy promises never to change
    rank = np.empty(len(labels), dtype=np.int64)  # how many of its class precede an image
    for label in np.unique(labels):
        own = shuffled[labels[shuffled] == label]
        rank[own] = np.arange(len(own))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def stratified_subset(labels: Sequence[int] | NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """Return the first `limit` indices (all if None) of the stratified order."""
    if limit is not None and limit < 1:
        raise ValueError(f"a limit must leave at least one image, got {limit}")
    return stratified_order(labels)[:limit]


def set_apart(labels: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of all images but `count`, in order, and of those `count`, evenly over the classes."""
    trained_on(len(labels), count)
    order = stratified_order(labels)
    return np.sort(order[count:]), order[:count]


def trained_on(images: int, choose: int) -> int:
    """Return how many images are left to train on. Raises ValueError if none is."""
    if choose >= images:
        raise ValueError(f"data.choose {choose} leaves nothing to train on of {images} training images")
    return images - choose


def repeated(order: Tensor, copies: int) -> Tensor:
    """Repeat each index `copies` times in a row and cut to the same length (repeated augmentation)."""
    return order.repeat_interleave(copies)[: len(order)] if copies > 1 else order


def rank_slice(size: int, shard: Shard) -> slice:
    """Return a rank's slice of a batch of `size`. Slices are equal, so that the mean of means is the mean."""
    rank, world = shard
    if size % world:
        raise ValueError(f"train.batch_size {size} cannot be split evenly over {world} processes")
    return slice(rank * size // world, (rank + 1) * size // world)


def check_batch(images: int, batch_size: int, name: str) -> None:
    """Raise ValueError if a data set does not fill one batch."""
    if batch_size < 1:
        raise ValueError(f"train.batch_size must be at least 1, got {batch_size}")
    if images < batch_size:
        raise ValueError(f"{name} has {images} training images, fewer than one batch of {batch_size}")
