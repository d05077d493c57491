"""CIFAR-10 and CIFAR-100 through torchvision."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.config.data import KNOWN_SETS, Data
from dynvit.data.in_memory import DecodedSet
from dynvit.data.paths import find_root

STATISTICS = {  # mean and standard deviation of the training images
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def decode(data: Data) -> DecodedSet:
    """Decode both splits; download them if they are not under the root and there is a network."""
    root = find_root(data, must_exist=False)
    splits = [_split(data.name, root, train) for train in (True, False)]
    (train, train_labels), (val, val_labels) = ((_resized(x, data.image_size), y) for x, y in splits)
    mean, std = STATISTICS[data.name]
    return DecodedSet(train, train_labels, val, val_labels, KNOWN_SETS[data.name].classes, mean, std)


def _split(name: str, root: Path, train: bool) -> tuple[Tensor, Tensor]:
    dataset = _dataset(name)
    try:
        found = dataset(str(root), train=train, download=False)
    except RuntimeError:  # torchvision raises it for absent and damaged files
        _download(dataset, name, root)
        found = dataset(str(root), train=train, download=False)
    return torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(np.asarray(found.targets))


def _dataset(name: str) -> Any:
    from torchvision import datasets

    return datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100


def _download(dataset: Any, name: str, root: Path) -> None:
    """Download to a temporary folder and rename it: several trials may start at once."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as own:
            dataset(own, train=True, download=True)
            target = root / dataset.base_folder
            if not target.exists():
                os.replace(Path(own) / dataset.base_folder, target)
    except Exception as error:
        raise FileNotFoundError(
            f"{name} is not in {root} and could not be downloaded ({type(error).__name__}: {error}). On a machine with "
            f"a network run: python -c \"import torchvision; torchvision.datasets.{dataset.__name__}('{root}', "
            f'download=True)" - or set data.root or DYNVIT_DATA to where {dataset.base_folder}/ is'
        ) from error


def _resized(x_NCHW: Tensor, size: int) -> Tensor:
    if x_NCHW.shape[-1] == size:
        return x_NCHW
    parts = [
        F.interpolate(x.float(), size=(size, size), mode="bilinear", align_corners=False, antialias=True)
        for x in x_NCHW.split(5000)
    ]
    return torch.cat([x.round().clamp(0, 255).to(torch.uint8) for x in parts])
