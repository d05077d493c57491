"""What every format provides: stored images and the two splits made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dynvit.config.data import Data


class ImageSource(Protocol):
    """Encoded images with random access; any process may read any image at any time."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Return the encoded image. Raises OSError or ValueError if it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """Return a file name or another name by which a person finds the image."""
        ...


@dataclass(frozen=True)
class Split:
    """Training or validation images as found, in the order of the source."""

    name: str
    classes: tuple[str, ...]
    source: ImageSource
    labels: NDArray[np.int64]


def split_names(data: Data) -> tuple[str, list[str]]:
    """Return the name of the training split, and candidates for the validation split: the first found is used."""
    train, *validation = data.splits or ("train", "val", "validation", "test")
    return train, validation
