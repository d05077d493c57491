"""Small image sets: decoded once into one tensor on the device, batches cut from it, no loader processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynvit.data.augment import augment, cut_out
from dynvit.data.corrupt import DAMAGED, Corrupt, decoded, why
from dynvit.data.listing import Listing, Tree
from dynvit.data.randaugment import Policy
from dynvit.data.sampling import WHOLE, Part, check_batch, limited, repeated, share
from dynvit.rng import stream

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as every recipe of the field uses them
MEMORY_BYTES = 2 * 2**30
MEMORY_PIXELS = 64
POLICY_VALUES = 2**24
"""Pixel values that a policy is applied to at once: 5400 images of 32 pixels, 64 MB."""


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
    corrupt: Corrupt = field(default_factory=Corrupt)
    """What could not be decoded and so is not in it."""


def fits(data: Data, tree: Tree) -> bool:
    """Whether a set of files is decoded once and kept."""
    if data.in_memory != "auto":
        return data.in_memory == "always"
    images = len(tree.train) + len(tree.val)
    return data.image_size <= MEMORY_PIXELS and images * 3 * data.image_size**2 <= MEMORY_BYTES


def decode(data: Data, tree: Tree) -> Decoded:
    """All images of a set of files, resized so that they fill the square and cropped at its centre."""
    corrupt, parts = Corrupt(data.max_corrupt), []
    for listing in (tree.train, tree.val):
        with ThreadPoolExecutor(4) as pool:  # decoding releases the interpreter lock
            images = list(pool.map(lambda i: _pixels(listing, i, data.image_size), range(len(listing))))  # noqa: B023
        corrupt.add((listing.name(i), image) for i, image in enumerate(images) if isinstance(image, str))
        labels = [label for label, image in zip(listing.labels, images, strict=True) if not isinstance(image, str)]
        pixels = np.stack([image for image in images if not isinstance(image, str)])
        parts += [torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(np.asarray(labels))]
    return Decoded(parts[0], parts[1], parts[2], parts[3], len(tree.classes), MEAN, STD, corrupt)


def _pixels(listing: Listing, index: int, size: int) -> NDArray[np.uint8] | str:
    """The image, or why there is none."""
    from PIL import Image, ImageOps

    try:
        image = decoded(listing.read(index))
    except DAMAGED as error:
        return why(error)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(image)


class Memory:
    """The `Batches` of a decoded set."""

    def __init__(
        self, decoded: Decoded, data: Data, batch_size: int, validation_batch_size: int, seed: int, device: str
    ) -> None:
        self.classes, self.channels, self.image_size = decoded.classes, decoded.train_images.shape[1], data.image_size
        self.batch_size, self.validation_batch_size = batch_size, validation_batch_size
        self.seed, self.device, self.options, self.corrupt = seed, device, data.augment, decoded.corrupt
        self.policy = Policy.read(data.augment.auto) if data.augment.auto else None
        self.images, self.labels = _part(decoded.train_images, decoded.train_labels, data.limit, device)
        images, self.val_labels = _part(decoded.val_images, decoded.val_labels, data.val_limit, device)
        check_batch(len(self.images), batch_size, data.name)
        self.steps = len(self.images) // batch_size
        self.validation_size = len(images)
        self.val_images = images
        self.mean = torch.tensor(decoded.mean, device=device).view(1, -1, 1, 1) * 255
        values = batch_size * self.channels * self.image_size**2
        self.at_once = max(1, POLICY_VALUES // values) if self.policy is not None else 1
        self.scale = torch.tensor(decoded.std, device=device).view(1, -1, 1, 1) * 255

    def train(self, epoch: int, start: int = 0, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        mine = share(self.batch_size, part)
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
        order = repeated(order, self.options.repeats).to(self.device)
        for step, x_BCSS in zip(range(start, self.steps), self._augmented(order, epoch, start), strict=True):
            index = self._index(order, step)
            yield self._normalise(x_BCSS[mine]), self.labels[index[mine]]  # augmented whole: one stream for all ranks

    def _index(self, order: Tensor, step: int) -> Tensor:
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _augmented(self, order: Tensor, epoch: int, start: int) -> Iterator[Tensor]:
        """Batches of uint8 (what comes in from the side is black) from `start` on. A policy takes several at once: its
        hundreds of small operations take a GPU as long for one batch as for twenty."""
        for first in range(start - start % self.at_once, self.steps, self.at_once):
            steps = range(first, min(first + self.at_once, self.steps))
            batches = [self._moved(order, epoch, step) for step in steps]
            if self.policy is not None:  # which images get what is drawn on the CPU: nothing waits for the device
                x = self.policy.apply(torch.cat(batches), stream(self.seed, "policy", epoch, first))
                batches = list(x.split(self.batch_size))
            for step, x_BCSS in zip(steps, batches, strict=True):
                if step >= start:
                    yield self._cut(x_BCSS, epoch, step)

    def _moved(self, order: Tensor, epoch: int, step: int) -> Tensor:
        x_BCSS = self.images[self._index(order, step)]
        if not (self.options.shift or self.options.flip):
            return x_BCSS
        return augment(x_BCSS, self.options, stream(self.seed, "augment", epoch, step, device=self.device))

    def _cut(self, x_BCSS: Tensor, epoch: int, step: int) -> Tensor:
        if not self.options.cutout:
            return x_BCSS
        fill_C = self.mean.flatten().round().to(torch.uint8)
        return cut_out(
            x_BCSS, self.options.cutout, fill_C, stream(self.seed, "cutout", epoch, step, device=self.device)
        )

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
