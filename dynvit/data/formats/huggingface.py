"""Data sets of the Hugging Face hub through timm's reader: random access to the local copy that `datasets` keeps."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from dynvit.data.formats.image_folder import VALIDATION
from dynvit.data.listing import Split

if TYPE_CHECKING:
    from dynvit.tasks.classify import Data


class Rows:
    """What timm's reader gives, as bytes."""

    def __init__(self, reader: Any, where: str) -> None:
        self.reader, self.where = reader, where

    def __len__(self) -> int:
        return len(self.reader)

    def read(self, index: int) -> bytes:
        image, *_ = self.reader[index]
        with image:
            return image.read()

    def name(self, index: int) -> str:
        return f"{self.where}[{index}]"


def splits(data: Data) -> tuple[Split, Split]:
    import sys

    if "datasets" not in sys.modules and find_spec("datasets") is None:
        raise ModuleNotFoundError("data.name hfds needs Hugging Face datasets: pip install datasets")
    first, *rest = data.splits or ("train", *VALIDATION)
    train = _split(data, first)
    refused: Exception | None = None
    for name in rest:
        try:
            return train, _split(data, name)
        except ValueError as error:  # the word of `datasets` for a split that is not there
            refused = error
    raise ValueError(f"{data.repository} has no split {' or '.join(rest)}: {refused}") from refused


def _split(data: Data, split: str) -> Split:
    from timm.data.readers import create_reader

    reader = create_reader(f"hfds/{data.repository}", root=data.root or None, split=split)
    labels = np.asarray(list(_targets(reader)), dtype=np.int64)
    index = reader.class_to_idx
    classes = tuple(sorted(index, key=index.__getitem__)) or tuple(str(i) for i in range(int(labels.max()) + 1))
    return Split(split, classes, Rows(reader, f"{data.repository}/{split}"), labels)


def _targets(reader: Any) -> Iterable[int]:
    """Labels alone: newer readers of timm give them, in older ones they are a column."""
    if hasattr(reader, "iter_targets"):
        return reader.iter_targets()
    column: Iterable[int] = reader.dataset[reader.label_key]
    return column
