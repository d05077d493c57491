"""Small image sets: decoded once into one tensor on the device, batches cut from it, no loader processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from dynvit.data.augment import augment
from dynvit.data.subset import WHOLE, Part, check_batch, limited, share
from dynvit.train.seeding import stream

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data


@dataclass(frozen=True)
class Decoded:
    """Both splits as ``uint8[N, C, S, S]`` with labels ``int64[N]``; mean and std per channel, of values in 0..1."""

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Memory:
    """The `Batches` of a decoded set."""

    def __init__(
        self, decoded: Decoded, data: Data, batch_size: int, validation_batch_size: int, seed: int, device: str
    ) -> None:
        self.classes, self.channels, self.image_size = decoded.classes, decoded.train_images.shape[1], data.image_size
        self.batch_size, self.validation_batch_size = batch_size, validation_batch_size
        self.seed, self.device, self.options = seed, device, data.augment
        self.images, self.labels = _part(decoded.train_images, decoded.train_labels, data.limit, device)
        images, self.val_labels = _part(decoded.val_images, decoded.val_labels, data.val_limit, device)
        check_batch(len(self.images), batch_size, data.name)
        self.steps = len(self.images) // batch_size
        self.validation_size = len(images)
        self.val_images = images
        self.mean = torch.tensor(decoded.mean, device=device).view(1, -1, 1, 1) * 255
        self.scale = torch.tensor(decoded.std, device=device).view(1, -1, 1, 1) * 255

    def train(self, epoch: int, start: int = 0, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        mine = share(self.batch_size, part)
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch)).to(self.device)
        for step in range(start, self.steps):
            index = order[step * self.batch_size : (step + 1) * self.batch_size]
            x_BCSS = self.images[index]
            if self.options.shift or self.options.flip:  # still uint8: what comes in from the side is black
                x_BCSS = augment(x_BCSS, self.options, stream(self.seed, "augment", epoch, step, device=self.device))
            yield self._normalise(x_BCSS[mine]), self.labels[index[mine]]  # augmented whole: one stream for all ranks

    def validation(self, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        size, (rank, world) = self.validation_batch_size, part
        for start in range(rank * size, self.validation_size, world * size):
            yield self._normalise(self.val_images[start : start + size]), self.val_labels[start : start + size]

    def sample(self, count: int) -> Tensor:
        return self._normalise(self.val_images[:count])

    def _normalise(self, x_BCSS: Tensor) -> Tensor:
        """uint8 -> float, mean 0 and deviation 1."""
        return (x_BCSS.to(self.mean.dtype) - self.mean) / self.scale


def _part(images: Tensor, labels: Tensor, limit: int | None, device: str) -> tuple[Tensor, Tensor]:
    index = torch.from_numpy(np.ascontiguousarray(limited(labels.numpy(), limit)))
    return images[index].to(device), labels[index].to(device)
