"""Small image sets: decoded once into one tensor on the device; batches are slices of it, without loader processes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynvit.config.data import Data, channels_of
from dynvit.data.augment import augment, cut_out
from dynvit.data.corrupt import CorruptImages
from dynvit.data.decode import READ_ERRORS, decode_image
from dynvit.data.listing.left_out import Remark
from dynvit.data.normalization import mean_std
from dynvit.data.randaugment import Policy
from dynvit.data.sampling import SINGLE_PROCESS, Shard, check_batch, rank_slice, repeated, stratified_subset
from dynvit.data.split import DatasetIndex, IndexedSplit
from dynvit.rng import stream

MAX_BYTES = 2 * 2**30
MAX_PIXELS = 64
MAX_POLICY_VALUES = 2**24
"""Pixel values that RandAugment processes at once: 5400 images of 32 pixels, 64 MB."""


@dataclass(frozen=True)
class DecodedSet:
    """Both splits as ``uint8[N, C, S, S]`` with labels ``int64[N]``; mean and std per channel, of values in 0..1."""

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    corrupt: CorruptImages = field(default_factory=CorruptImages)
    """Images that could not be decoded and are not included."""
    remarks: tuple[Remark, ...] = ()
    choosing: tuple[Tensor, Tensor] | None = None
    """Images and labels on which the best epoch is chosen; they are not among the training images."""


def fits(data: Data, images: int) -> bool:
    """Return whether a set of files is decoded once and kept in memory. images: of both splits, as limited."""
    if data.in_memory != "auto":
        return data.in_memory == "always"
    return data.image_size <= MAX_PIXELS and images * 3 * data.image_size**2 <= MAX_BYTES


def decode(data: Data, index: DatasetIndex) -> DecodedSet:
    """Decode all images of a set of files, resized to fill the square and center-cropped."""
    corrupt, parts = CorruptImages(data.max_corrupt, index.damaged), []
    for split in filter(None, (index.train, index.val, index.choosing)):
        with ThreadPoolExecutor(getattr(split.source, "threads", 4)) as pool:  # decoding releases the interpreter lock
            images = list(pool.map(lambda i: _pixels(split, i, data), range(len(split))))  # noqa: B023
        corrupt.add((split.name(i), image) for i, image in enumerate(images) if isinstance(image, str))
        labels = [label for label, image in zip(split.labels, images, strict=True) if not isinstance(image, str)]
        if not labels:
            raise ValueError(f"none of {len(images)} images can be read, such as {split.name(0)}")
        pixels = np.stack([image for image in images if not isinstance(image, str)])
        parts.append((torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(np.asarray(labels))))
    (train, val, *choosing), classes = parts, len(index.classes)
    return DecodedSet(*train, *val, classes, *mean_std(data), corrupt, index.remarks, *choosing)


def _pixels(split: IndexedSplit, index: int, data: Data) -> NDArray[np.uint8] | str:
    """Return the image, or the reason why it cannot be decoded."""
    from PIL import Image, ImageOps

    size, channels = data.image_size, channels_of(data.name)
    try:
        image = decode_image(split.read(index), channels)
    except READ_ERRORS as error:
        return str(error)
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(size, size, channels)


class InMemoryBatches:
    """`Batches` of a decoded set."""

    def __init__(
        self, decoded: DecodedSet, data: Data, batch_size: int, validation_batch_size: int, seed: int, device: str
    ) -> None:
        self.classes, self.channels, self.image_size = decoded.classes, decoded.train_images.shape[1], data.image_size
        self.batch_size, self.validation_batch_size = batch_size, validation_batch_size
        self.seed, self.device, self.options = seed, device, data.augment
        self.corrupt, self.remarks = decoded.corrupt, decoded.remarks
        self.policy = Policy.parse(data.augment.auto) if data.augment.auto else None
        self.images, self.labels = _subset(decoded.train_images, decoded.train_labels, data.limit, device)
        if data.shuffle_labels:
            self.labels = self.labels[torch.randperm(len(self.labels), generator=stream(seed, "labels")).to(device)]
        self.val_images, self.val_labels = _subset(decoded.val_images, decoded.val_labels, data.val_limit, device)
        self.apart = None if decoded.choosing is None else _subset(*decoded.choosing, None, device)
        check_batch(len(self.images), batch_size, data.name)
        self.steps = len(self.images) // batch_size
        self.validation_size = len(self.val_images)
        self.mean = torch.tensor(decoded.mean, device=device).view(1, -1, 1, 1) * 255
        values = batch_size * self.channels * self.image_size**2
        self.batches_per_policy = max(1, MAX_POLICY_VALUES // values) if self.policy is not None else 1
        self.scale = torch.tensor(decoded.std, device=device).view(1, -1, 1, 1) * 255

    def train(self, epoch: int, start: int = 0, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        mine = rank_slice(self.batch_size, shard)
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))
        order = repeated(order, self.options.repeats).to(self.device)
        for step, x_BCSS in zip(range(start, self.steps), self._augmented(order, epoch, start), strict=True):
            index = self._index(order, step)
            yield (
                self._normalize(x_BCSS[mine]),
                self.labels[index[mine]],
            )  # augmented as a whole: one stream for all ranks

    def _index(self, order: Tensor, step: int) -> Tensor:
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _augmented(self, order: Tensor, epoch: int, start: int) -> Iterator[Tensor]:
        """Yield uint8 batches from `start` on. RandAugment processes several at once: its hundreds of small operations
        take a GPU as long for one batch as for twenty."""
        for first in range(start - start % self.batches_per_policy, self.steps, self.batches_per_policy):
            steps = range(first, min(first + self.batches_per_policy, self.steps))
            batches = [self._shifted(order, epoch, step) for step in steps]
            if self.policy is not None:  # its choices are drawn on the CPU: nothing waits for the device
                x = self.policy.apply(torch.cat(batches), stream(self.seed, "policy", epoch, first))
                batches = list(x.split(self.batch_size))
            for step, x_BCSS in zip(steps, batches, strict=True):
                if step >= start:
                    yield self._cut_out(x_BCSS, epoch, step)

    def _shifted(self, order: Tensor, epoch: int, step: int) -> Tensor:
        x_BCSS = self.images[self._index(order, step)]
        if not (self.options.shift or self.options.flip):
            return x_BCSS
        return augment(x_BCSS, self.options, stream(self.seed, "augment", epoch, step, device=self.device))

    def _cut_out(self, x_BCSS: Tensor, epoch: int, step: int) -> Tensor:
        if not self.options.cutout:
            return x_BCSS
        fill_C = self.mean.flatten().round().to(torch.uint8)
        return cut_out(
            x_BCSS, self.options.cutout, fill_C, stream(self.seed, "cutout", epoch, step, device=self.device)
        )

    def validation(self, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        return self._plain(self.val_images, self.val_labels, shard)

    def choosing(self, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        return self._plain(*self.apart, shard) if self.apart else iter(())

    def seen(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        return self._plain(self.images[:count], self.labels[:count])

    def sample(self, count: int) -> Tensor:
        return self._normalize(self.val_images[:count])

    def _plain(self, images: Tensor, labels: Tensor, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        size, (rank, world) = self.validation_batch_size, shard
        for start in range(rank * size, len(images), world * size):
            yield self._normalize(images[start : start + size]), labels[start : start + size]

    def _normalize(self, x_BCSS: Tensor) -> Tensor:
        """Convert uint8 to float of mean 0 and standard deviation 1."""
        return (x_BCSS.to(self.mean.dtype) - self.mean) / self.scale


def _subset(images: Tensor, labels: Tensor, limit: int | None, device: str) -> tuple[Tensor, Tensor]:
    index = torch.from_numpy(np.ascontiguousarray(stratified_subset(labels.numpy(), limit)))
    return images[index].to(device), labels[index].to(device)
