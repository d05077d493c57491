"""Subsets of a data set: some classes (`data.labels`), renumbered in that order; images set apart (`data.choose`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynvit.config.data import Data
from dynvit.data.in_memory import DecodedSet
from dynvit.data.sampling import set_apart
from dynvit.data.source import ImageSource, Split


def select_classes(found: DecodedSet, data: Data) -> DecodedSet:
    """Drop the other classes of a decoded set; its mean and standard deviation stay those of the whole set."""
    if not data.labels:
        return found
    train, train_labels = _tensors(found.train_images, found.train_labels, data, found.classes)
    val, val_labels = _tensors(found.val_images, found.val_labels, data, found.classes)
    return replace(
        found,
        train_images=train,
        train_labels=train_labels,
        val_images=val,
        val_labels=val_labels,
        classes=len(data.labels),
    )


def select_split_classes(split: Split, data: Data) -> Split:
    """Drop the images of other classes from a split."""
    if not data.labels:
        return split
    kept, labels = select_labels(split.labels, data, len(split.classes))
    classes = tuple(split.classes[i] for i in data.labels)
    return replace(split, classes=classes, source=Subset(split.source, kept), labels=labels)


def choose_apart(found: DecodedSet, data: Data) -> DecodedSet:
    """Move the images of `data.choose` out of a decoded set's training images."""
    if not data.choose:
        return found
    kept, chosen = map(torch.from_numpy, set_apart(found.train_labels.numpy(), data.choose))
    parts = [(found.train_images[index], found.train_labels[index]) for index in (kept, chosen)]
    return replace(found, train_images=parts[0][0], train_labels=parts[0][1], choosing=parts[1])


def choose_split_apart(train: Split, data: Data) -> tuple[Split, Split | None]:
    """Divide a split into what is trained on and, with `data.choose`, what the best epoch is chosen on."""
    if not data.choose:
        return train, None
    kept, chosen = (
        replace(train, source=Subset(train.source, index), labels=train.labels[index])
        for index in set_apart(train.labels, data.choose)
    )
    return kept, chosen


def select_labels(labels: NDArray[np.int64], data: Data, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the images to keep and their new labels. Raises ValueError for an unknown class."""
    if absent := [label for label in data.labels if label >= classes]:
        names = ", ".join(map(str, absent))
        raise ValueError(f"data.labels asks for {names}, the classes of {data.name} are 0 to {classes - 1}")
    new = np.full(classes, -1, dtype=np.int64)
    new[list(data.labels)] = np.arange(len(data.labels))
    kept = np.flatnonzero(new[labels] >= 0)
    return kept, new[labels[kept]]


@dataclass(frozen=True)
class Subset:
    """The images of a source at some indices."""

    source: ImageSource
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> bytes:
        return self.source.read(int(self.indices[index]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.indices[index]))


def _tensors(images: Tensor, labels: Tensor, data: Data, classes: int) -> tuple[Tensor, Tensor]:
    kept, new = select_labels(labels.numpy(), data, classes)
    return images[torch.from_numpy(kept)], torch.from_numpy(new)
