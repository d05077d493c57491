"""Any image folder: train/<class>/<image> and val/<class>/<image> (or test/), found by torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynvit.data.files import Images, loader
from dynvit.data.memory import Decoded
from dynvit.data.roots import find_root
from dynvit.data.subset import WHOLE, Part, check_batch, limited, share
from dynvit.train.seeding import stream

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as every recipe of the field uses them
MEMORY_BYTES = 2 * 2**30
MEMORY_PIXELS = 64


@dataclass(frozen=True)
class Tree:
    """Files and labels of both splits, limits applied, in mixed order."""

    classes: tuple[str, ...]
    train: tuple[list[str], NDArray[np.int64]]
    val: tuple[list[str], NDArray[np.int64]]


def scan(data: Data) -> Tree:
    """List the files. ValueError where the splits do not fit each other."""
    root = find_root(data)
    val_root = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if not (root / "train").is_dir() or val_root is None:
        here = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())[:8]) or "no folders"
        raise FileNotFoundError(
            f"{root} must hold train/ and val/ (or test/), a folder per class in each; it has {here}"
        )
    (classes, train), (val_classes, val) = _listed(root / "train", data.limit), _listed(val_root, data.val_limit)
    if classes != val_classes:
        odd = sorted(set(classes) ^ set(val_classes))
        raise ValueError(
            f"{root}: {len(classes)} classes in train/, {len(val_classes)} in {val_root.name}/; "
            f"not in both: {', '.join(odd[:6])}" + (f" and {len(odd) - 6} more" if len(odd) > 6 else "")
        )
    return Tree(classes, train, val)


def _listed(folder: Path, limit: int | None) -> tuple[tuple[str, ...], tuple[list[str], NDArray[np.int64]]]:
    from torchvision.datasets import ImageFolder

    found = ImageFolder(str(folder), allow_empty=False)
    order = limited(np.asarray(found.targets, dtype=np.int64), limit)
    return tuple(found.classes), ([found.samples[i][0] for i in order], np.asarray(found.targets)[order])


def fits_in_memory(data: Data, tree: Tree) -> bool:
    if data.in_memory != "auto":
        return data.in_memory == "always"
    images = len(tree.train[0]) + len(tree.val[0])
    return data.image_size <= MEMORY_PIXELS and images * 3 * data.image_size**2 <= MEMORY_BYTES


def decode(data: Data, tree: Tree) -> Decoded:
    """All images, resized so that they fill the square and cropped at its centre."""
    if data.augment.auto:
        raise ValueError("data.augment.auto needs images from files: set data.in_memory to never")
    parts = []
    for files, labels in (tree.train, tree.val):
        with ThreadPoolExecutor(4) as pool:  # decoding releases the interpreter lock
            images = list(pool.map(lambda file: _pixels(file, data.image_size), files, chunksize=64))
        parts += [torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)]
    return Decoded(parts[0], parts[1], parts[2], parts[3], len(tree.classes), MEAN, STD)


def _pixels(file: str, size: int) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)
    return np.asarray(image)


class Files:
    """The `Batches` of a folder too large for memory: worker processes decode and augment."""

    channels = 3

    def __init__(
        self, data: Data, tree: Tree, batch_size: int, validation_batch_size: int, seed: int, device: str
    ) -> None:
        check_batch(len(tree.train[0]), batch_size, data.name)
        self.classes, self.image_size = len(tree.classes), data.image_size
        self.batch_size, self.validation_batch_size = batch_size, validation_batch_size
        self.seed, self.device = seed, device
        self.steps = len(tree.train[0]) // batch_size
        self.validation_size = len(tree.val[0])
        self.train_set = Images(*tree.train, data, seed, training=True)
        self.val_set = Images(*tree.val, data, seed, training=False)
        # Plain lists of (epoch, index) pairs: workers outlive an epoch and get their work by message.
        self.order: list[list[tuple[int, int]]] = []
        self.train_loader = loader(self.train_set, self.order, device)
        self.val_order: list[list[tuple[int, int]]] = []
        self.val_loader = loader(self.val_set, self.val_order, device)

    def train(self, epoch: int, start: int = 0, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        mine = share(self.batch_size, part)
        order = torch.randperm(len(self.train_set), generator=stream(self.seed, "order", epoch)).tolist()
        pairs = [(epoch, i) for i in order]
        batches = [pairs[s * self.batch_size : (s + 1) * self.batch_size] for s in range(start, self.steps)]
        self.order[:] = [batch[mine] for batch in batches]
        yield from self._moved(self.train_loader)

    def validation(self, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        size, (rank, world) = self.validation_batch_size, part
        pairs = [(0, i) for i in range(self.validation_size)]
        self.val_order[:] = [pairs[i : i + size] for i in range(0, len(pairs), size)][rank::world]
        yield from self._moved(self.val_loader)

    def sample(self, count: int) -> Tensor:
        images = [self.val_set[(0, i)][0] for i in range(min(count, self.validation_size))]
        return torch.stack(images).to(self.device)

    def _moved(self, batches: torch.utils.data.DataLoader) -> Iterator[tuple[Tensor, Tensor]]:
        for x_BCSS, labels_B in batches:
            yield x_BCSS.to(self.device, non_blocking=True), labels_B.to(self.device, non_blocking=True)
