"""Image sets for `classify`, all behind one interface: batches in an order that the seed alone decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from dynvit.data.corrupt import Corrupt
from dynvit.data.listing import expected
from dynvit.data.sampling import WHOLE, Part

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data


class Batches(Protocol):
    """One data set, split in training and validation, on the device.

    Images are ``[B, C, S, S]`` and normalised, labels ``[B]``.
    """

    classes: int
    channels: int
    image_size: int
    steps: int
    """Training batches per epoch; what does not fill a batch waits for another epoch."""
    validation_size: int

    validation_batch_size: int
    corrupt: Corrupt
    """Images met so far that cannot be decoded."""

    def train(self, epoch: int, start: int = 0, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches from batch `start` on, the same whenever and wherever they are asked for; of each the
        images that are a rank's, where several processes share it."""
        ...

    def validation(self, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """All validation images in a fixed order that mixes the classes; of several processes each takes whole batches,
        the rank-th and every world-th from there."""
        ...

    def sample(self, count: int) -> Tensor:
        """The first `count` validation images (fewer if there are not so many)."""
        ...


def load(data: Data, batch_size: int, validation_batch_size: int, seed: int, device: str) -> Batches:
    """The data set of a config. ValueError or FileNotFoundError says what is missing and how to get it."""
    from dynvit.data import in_memory
    from dynvit.data.class_subset import of_decoded
    from dynvit.data.formats import cifar, digits

    if data.name == "digits":
        decoded = of_decoded(digits.decode(data.image_size), data)
        expected(data, decoded.classes, len(decoded.train_images))
    elif data.name in ("cifar10", "cifar100"):
        decoded = of_decoded(cifar.decode(data), data)
        expected(data, decoded.classes, len(decoded.train_images))
    else:
        from dynvit.data.listing import scan

        tree = scan(data)
        if not in_memory.fits(data, tree):
            from dynvit.data.streaming import Files

            return Files(data, tree, batch_size, validation_batch_size, seed, device)
        decoded = in_memory.decode(data, tree)
    return in_memory.Memory(decoded, data, batch_size, validation_batch_size, seed, device)
