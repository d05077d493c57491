"""What every format provides: stored images, the two splits made of them, and what it left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dynvit.config.data import Data
from dynvit.data.listing.left_out import LeftOut
from dynvit.data.listing.names import holds_words, listed

Words = tuple[str, ...]
"""Names that mean the same split."""
Named = tuple[str, list[str]]
"""A split's name, and its files."""
TRAIN: Words = ("train", "training")
VALIDATION: Words = ("val", "validation", "valid", "eval", "evaluation")
TEST: Words = ("test", "testing")


class ImageSource(Protocol):
    """Encoded images with random access; any process may read any image at any time."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Return the encoded image. Raises OSError or ValueError if it cannot be read."""
        ...

    def name(self, index: int) -> str:
        """Return a file name or another name by which a person finds the image."""
        ...


class FileSource(ImageSource, Protocol):
    """Images in files of their own, or in tar files."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are read, each once."""
        ...

    @property
    def inodes(self) -> NDArray[np.uint64]:
        """Their inode numbers, by which the same file is found again."""
        ...

    def size(self, index: int) -> int:
        """Return the number of bytes of an image. Raises OSError."""
        ...


@dataclass(frozen=True)
class Split:
    """Training or validation images as found, in the order of the source."""

    name: str
    classes: tuple[str, ...]
    source: ImageSource
    labels: NDArray[np.int64]
    place: str = ""
    """The folder or file, for errors."""
    left_out: LeftOut = field(default_factory=LeftOut)
    deeper: tuple[str, ...] = ()
    """Folders with images below their class's folder, as class/folder."""
    doubled: tuple[str, ...] = ()
    """Images that a class shares with another one: the same file."""
    class_list: bool = False
    """The classes come from a list, which may name more of them than there are images of."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Tar files of which a part cannot be read, with the reason."""

    @property
    def lacks(self) -> str:
        """What an error about missing images adds: what was left out, and which files are damaged."""
        left = [f"left out: {self.left_out}"] if str(self.left_out) else []
        return "".join(f"; {text}" for text in [*left, *(f"{f} is damaged: {why}" for f, why in self.damaged.items())])


@dataclass(frozen=True)
class Listing:
    """Both splits, and the entries beside them."""

    train: Split
    val: Split
    root: str = ""
    unused: LeftOut = field(default_factory=LeftOut)


def split_names(data: Data) -> tuple[list[Words], list[Words]]:
    """Return the names of the training and of the validation split, by preference: the first that is found is used.

    A name that the config gives stands for itself, and only where that is not found for those that mean the same.
    """
    if not data.splits:
        return [TRAIN], [VALIDATION, TEST]
    train, val = ([(name,), *(words for words in (TRAIN, VALIDATION, TEST) if name in words)] for name in data.splits)
    return train, val


def divide(data: Data, names: Sequence[str]) -> tuple[Named, Named]:
    """Return the names (of shards, with their folders) of the training and of the validation split, by whole words.

    Raises ValueError for names that fit both.
    """
    found = []
    for groups in split_names(data):
        fitting = [(words[0], [name for name in names if _fits(name, words)]) for words in groups]
        found.append((next((named for named in fitting if named[1]), fitting[0]), fitting))
    (train, _), (val, candidates) = found
    if both := sorted(set(train[1]) & {name for _, some in candidates for name in some}):
        raise ValueError(
            f"{listed(both)}: the name fits the training and the validation split; rename it, or list the files of "
            "each split in _info.json"
        )
    return train, val


def _fits(name: str, words: Words) -> bool:
    return any(holds_words(name, word) for word in words)
