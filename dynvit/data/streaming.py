"""Images decoded while training: augmentation depends on seed, epoch and index, not on the loader process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynvit.config.data import Data, channels_of
from dynvit.data.corrupt import CorruptImages
from dynvit.data.decode import READ_ERRORS, decode_image
from dynvit.data.normalization import mean_std
from dynvit.data.posterize import allow_no_bits
from dynvit.data.sampling import SINGLE_PROCESS, Shard, check_batch, rank_slice, repeated
from dynvit.data.split import DatasetIndex, IndexedSplit
from dynvit.rng import own_stream, stream

Corruption = tuple[str, str]
"""Name of an image that cannot be decoded, and the reason."""
Item = tuple[Tensor | None, int, list[Corruption]]
PREFETCH = 4
"""Batches that each loader process prepares ahead."""
ELONGATED = 8
"""Ratio of sides beyond which the ends are cut off before the resize of validation, whose center crop is a square."""


class ImageDataset(Dataset):
    """A dataset indexed by (epoch, index), so that a resumed trial sees the same images as an uninterrupted one.

    An image that cannot be decoded is replaced by the next one in training and left out in validation.
    """

    def __init__(self, split: IndexedSplit, data: Data, seed: int, training: bool) -> None:
        self.split, self.seed, self.training, self.tries = split, seed, training, data.max_corrupt + 1
        self.transform, self.channels = _transform(data, training), channels_of(data.name)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, pair: tuple[int, int]) -> Item:
        epoch, index = pair
        bad: list[Corruption] = []
        for i in range(self.tries if self.training else 1):
            position = (index + i) % len(self)
            try:
                image = decode_image(self.split.read(position), self.channels)
            except READ_ERRORS as error:
                bad.append((self.split.name(position), str(error)))
                continue
            label = int(self.split.labels[position])
            try:
                return self._transformed(image, epoch, index), label, bad
            except Exception as error:  # also MemoryError, which says nothing
                text = f"{type(error).__name__} {error}".rstrip()
                name, size = self.split.name(position), f"{image.size[0]} x {image.size[1]}"
                raise ValueError(f"{name} of {size} pixels cannot be resized and augmented: {text}") from error
        return None, -1, bad

    def _transformed(self, image: Any, epoch: int, index: int) -> Tensor:
        if not self.training:
            transformed: Tensor = self.transform(without_ends(image))
            return transformed
        with own_stream(self.seed, "augment", epoch, index):  # without workers this is the training process
            transformed = self.transform(image)
        return transformed


class StreamingBatches:
    """`Batches` of a set too large for memory: loader processes decode and augment."""

    def __init__(
        self, data: Data, index: DatasetIndex, batch_size: int, validation_batch_size: int, seed: int, device: str
    ) -> None:
        check_batch(len(index.train), batch_size, data.name)
        self.classes, self.image_size = len(index.classes), data.image_size
        self.channels = channels_of(data.name)
        self.batch_size, self.validation_batch_size = batch_size, validation_batch_size
        self.data, self.seed, self.device = data, seed, device
        self.corrupt, self.remarks = CorruptImages(data.max_corrupt, index.damaged), index.remarks
        self.steps, self.copies = len(index.train) // batch_size, data.augment.repeats
        self.validation_size = len(index.val)
        train = index.train
        if data.shuffle_labels:
            order = torch.randperm(len(train), generator=stream(seed, "labels")).numpy()
            train = replace(train, labels=train.labels[order])
        self.train_set = ImageDataset(train, data, seed, training=True)
        self.apart = index.choosing and ImageDataset(index.choosing, data, seed, training=False)
        self.val_set = ImageDataset(index.val, data, seed, training=False)
        # Plain lists of (epoch, index) pairs: loader processes outlive an epoch and receive their indices by message.
        self.order: list[list[tuple[int, int]]] = []
        self.train_loader = loader(self.train_set, self.order, device)
        self.val_order: list[list[tuple[int, int]]] = []
        self.val_loader = loader(self.val_set, self.val_order, device)
        self.apart_order: list[list[tuple[int, int]]] = []
        self.apart_loader = self.apart and loader(self.apart, self.apart_order, device)

    def train(self, epoch: int, start: int = 0, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        mine = rank_slice(self.batch_size, shard)
        order = torch.randperm(len(self.train_set), generator=stream(self.seed, "order", epoch))
        copies = self.copies  # each copy draws from an epoch number of its own
        pairs = [(epoch * copies + position % copies, i) for position, i in enumerate(repeated(order, copies).tolist())]
        batches = [pairs[s * self.batch_size : (s + 1) * self.batch_size] for s in range(start, self.steps)]
        self.order[:] = [batch[mine] for batch in batches]
        yield from self._to_device(self.train_loader)

    def validation(self, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        self.val_order[:] = self._plain_order(self.validation_size, shard)
        yield from self._some(self.val_loader, self.val_order, "validation", shard)

    def choosing(self, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        if self.apart_loader is not None and self.apart is not None:
            self.apart_order[:] = self._plain_order(len(self.apart), shard)
            yield from self._some(self.apart_loader, self.apart_order, "choosing (data.choose)", shard)

    def seen(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        plain = ImageDataset(self.train_set.split, self.data, self.seed, training=False)
        order = self._plain_order(min(count, len(plain)))
        yield from self._some(loader(plain, order, self.device), order, "training")

    def _some(
        self, batches: DataLoader, order: Sequence[Sequence[tuple[int, int]]], kind: str, shard: Shard = SINGLE_PROCESS
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches. Raises ValueError if none of the images can be read; a shard may be without any."""
        found = False
        for batch in self._to_device(batches):
            yield batch
            found = True
        if order and not found and shard == SINGLE_PROCESS:
            raise ValueError(f"none of {sum(map(len, order))} {kind} images can be read")

    def _plain_order(self, images: int, shard: Shard = SINGLE_PROCESS) -> list[list[tuple[int, int]]]:
        size, (rank, world) = self.validation_batch_size, shard
        pairs = [(0, i) for i in range(images)]
        return [pairs[i : i + size] for i in range(0, len(pairs), size)][rank::world]

    def sample(self, count: int) -> Tensor:
        items: list[Item] = []
        wanted = min(count, self.validation_size)
        while wanted and len(items) < self.validation_size:  # as in memory, unreadable images have no part in it
            items.append(self.val_set[(0, len(items))])
            wanted -= items[-1][0] is not None
        x_BCSS, _, bad = collate(items)
        self.corrupt.add(bad)
        return x_BCSS.to(self.device)

    def _to_device(self, batches: DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
        for x_BCSS, labels_B, bad in batches:
            if bad:
                self.corrupt.add(bad)
            if len(labels_B):
                yield x_BCSS.to(self.device, non_blocking=True), labels_B.to(self.device, non_blocking=True)


def without_ends(image: Any) -> Any:
    """Return the middle of a very elongated image. The resize makes the shorter side as long as a model's image and the
    longer one with it: an image of 20000 x 1 pixels, a file of 143 bytes, would need gigabytes."""
    longer, shorter = max(image.size), min(image.size)
    if longer <= ELONGATED * shorter:
        return image
    kept = ELONGATED * shorter
    cut = (longer - kept) // 2  # what is left of an odd number stays, so that the middle is the same
    wide = image.size[0] == longer
    return image.crop((cut, 0, longer - cut, shorter) if wide else (0, cut, shorter, longer - cut))


def collate(items: Sequence[Item]) -> tuple[Tensor, Tensor, list[Corruption]]:
    """Stack the images that could be decoded."""
    images = [image for image, _, _ in items if image is not None]
    labels = torch.tensor([label for image, label, _ in items if image is not None], dtype=torch.long)
    return (torch.stack(images) if images else torch.empty(0)), labels, [one for _, _, bad in items for one in bad]


def loader(images: ImageDataset, order: Sequence[Sequence[tuple[int, int]]], device: str) -> DataLoader:
    """Return a loader of the indices that `order` holds when iteration starts."""
    count = loader_processes()
    return DataLoader(
        images,
        batch_sampler=order,
        num_workers=count,
        persistent_workers=count > 0,
        prefetch_factor=PREFETCH if count else None,
        pin_memory=device.startswith("cuda"),
        collate_fn=collate,
        generator=torch.Generator(),  # otherwise every epoch would draw from the stream that models draw from
    )


def loader_processes() -> int:
    """Return DYNVIT_WORKERS, else one per CPU this process may use, at most 8. No result depends on it."""
    given = os.environ.get("DYNVIT_WORKERS", "")
    if given:
        if not given.isdigit():
            raise ValueError(f"DYNVIT_WORKERS is the number of decoding processes, not {given}")
        return int(given)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


def check_streamed(data: Data) -> None:
    """Raise ValueError for augmentation that only images in memory have."""
    for key in ("shift", "cutout"):
        if getattr(data.augment, key):
            raise ValueError(f"data.augment.{key} is for images kept in memory; images from files are cropped by scale")


def _transform(data: Data, training: bool) -> Any:
    from timm.data import create_transform

    mean, std = mean_std(data)
    if not training:
        return create_transform(
            data.image_size, is_training=False, interpolation="bicubic", crop_pct=0.9, mean=mean, std=std
        )
    check_streamed(data)
    transform = create_transform(
        data.image_size,
        is_training=True,
        scale=tuple(data.augment.scale),
        hflip=0.5 if data.augment.flip else 0.0,
        color_jitter=None,
        auto_augment=data.augment.auto.replace("mstdinf", "mstd101") or None,  # timm reads no inf, and takes 101 for it
        interpolation="bicubic",
        re_prob=0.0,
        mean=mean,
        std=std,
    )
    allow_no_bits(transform)
    return transform
