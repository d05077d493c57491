"""The interface of a data set in training: batches in an order that depends on the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor

from dynvit.data.corrupt import CorruptImages
from dynvit.data.listing.left_out import Remark
from dynvit.data.sampling import SINGLE_PROCESS, Shard


class Batches(Protocol):
    """A data set with a training and a validation split, on the device.

    Images are ``float[B, C, S, S]`` and normalized, labels ``int64[B]``.
    """

    classes: int
    channels: int
    image_size: int
    batch_size: int
    steps: int
    """Training batches per epoch; a last incomplete batch is dropped."""
    validation_size: int

    validation_batch_size: int
    corrupt: CorruptImages
    """Images met so far that cannot be decoded."""
    remarks: tuple[Remark, ...]
    """What there is to know about the data set: what was left out of it, and what may be a mistake."""

    def train(self, epoch: int, start: int = 0, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the epoch's batches from batch `start` on; of each batch the shard's images.

        Depends on seed, epoch and step only, never on what was read before.
        """
        ...

    def validation(self, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all validation images in a fixed order that mixes the classes; a shard gets every world-th batch."""
        ...

    def choosing(self, shard: Shard = SINGLE_PROCESS) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield, as `validation` does, the images on which the best epoch is chosen (`data.choose`)."""
        ...

    def seen(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the first `count` training images as validation shows its own: in a fixed order, not augmented."""
        ...

    def sample(self, count: int) -> Tensor:
        """Return the first `count` validation images that can be read, or all if there are fewer."""
        ...


def model_size(data: Batches) -> dict[str, int]:
    """Return the model options that follow from the data."""
    return {"num_classes": data.classes, "in_chans": data.channels, "img_size": data.image_size}


def fitting(key: str, options: Mapping[str, Any], data: Batches) -> dict[str, int]:
    """Return what `model_size` does. Raises ValueError if a model's options, of the config's `key`, contradict it."""
    size = model_size(data)
    for name in size:
        given = options.get(name, size[name])
        if given not in (size[name], (size[name],) * 2, [size[name]] * 2):
            raise ValueError(f"{key}.{name} is {given}, and the data has {size[name]}: leave it out")
    return size
