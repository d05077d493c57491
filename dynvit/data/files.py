"""Images decoded while training: each one's augmentation depends on seed, epoch and index, not on who decodes it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynvit.train.seeding import own_stream

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data


class Images(Dataset):
    """Indexed by (epoch, index), so that a resumed trial sees what an undisturbed one would."""

    def __init__(self, files: Sequence[str], labels: NDArray[np.int64], data: Data, seed: int, training: bool) -> None:
        self.files, self.labels, self.seed, self.training = files, labels, seed, training
        self.transform = _transform(data, training)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, pair: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, index = pair
        image = _opened(self.files[index])
        if not self.training:
            return self.transform(image), int(self.labels[index])
        with own_stream(self.seed, "augment", epoch, index):  # without workers this is the training process
            return self.transform(image), int(self.labels[index])


def loader(images: Images, order: Sequence[Sequence[tuple[int, int]]], device: str) -> DataLoader:
    """Batches of the indices that `order` holds when iteration starts."""
    count = workers()
    return DataLoader(
        images,
        batch_sampler=order,
        num_workers=count,
        persistent_workers=count > 0,
        pin_memory=device.startswith("cuda"),
        generator=torch.Generator(),  # else every epoch would draw from the stream that models draw from
    )


def workers() -> int:
    """Decoding processes: DYNVIT_WORKERS, else one per CPU this process may use, at most 8. No number depends on it."""
    given = os.environ.get("DYNVIT_WORKERS")
    if given is not None:
        return int(given)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


def _transform(data: Data, training: bool) -> Any:
    from timm.data import create_transform

    if not training:
        return create_transform(data.image_size, is_training=False, interpolation="bicubic", crop_pct=0.9)
    if data.augment.shift:
        raise ValueError("data.augment.shift is for images kept in memory; images from files are cropped by scale")
    return create_transform(
        data.image_size,
        is_training=True,
        scale=tuple(data.augment.scale),
        hflip=0.5 if data.augment.flip else 0.0,
        color_jitter=None,
        auto_augment=data.augment.auto or None,
        interpolation="bicubic",
        re_prob=0.0,
    )


def _opened(file: str) -> Any:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
