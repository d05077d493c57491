"""Some classes of a data set (`data.labels`), renumbered in the order they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynvit.data.listing import Source, Split

if TYPE_CHECKING:
    from dynvit.data.in_memory import Decoded
    from dynvit.tasks.classify import Data


def of_decoded(found: Decoded, data: Data) -> Decoded:
    """A decoded set less the other classes; its mean and deviation stay those of the whole set."""
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


def of_split(split: Split, data: Data) -> Split:
    """A listed part less the images of other classes."""
    if not data.labels:
        return split
    kept, labels = renumbered(split.labels, data, len(split.classes))
    return Split(split.name, tuple(split.classes[i] for i in data.labels), Some(split.source, kept), labels)


def renumbered(labels: NDArray[np.int64], data: Data, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the images that are wanted, and their new labels. ValueError for a class that is not there."""
    if absent := [label for label in data.labels if label >= classes]:
        told = ", ".join(map(str, absent))
        raise ValueError(f"data.labels asks for {told}, the classes of {data.name} are 0 to {classes - 1}")
    new = np.full(classes, -1, dtype=np.int64)
    new[list(data.labels)] = np.arange(len(data.labels))
    kept = np.flatnonzero(new[labels] >= 0)
    return kept, new[labels[kept]]


@dataclass(frozen=True)
class Some:
    """Those images of a source that stand at `places`."""

    source: Source
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def read(self, index: int) -> bytes:
        return self.source.read(int(self.places[index]))

    def name(self, index: int) -> str:
        return self.source.name(int(self.places[index]))


def _tensors(images: Tensor, labels: Tensor, data: Data, classes: int) -> tuple[Tensor, Tensor]:
    kept, new = renumbered(labels.numpy(), data, classes)
    return images[torch.from_numpy(kept)], torch.from_numpy(new)
