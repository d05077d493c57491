"""Data sets of the Hugging Face hub through timm's reader: random access to the local copy made by `datasets`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from dynvit.config.data import Data
from dynvit.data.formats.labels import number_classes
from dynvit.data.source import Listing, Split, split_names


class HubImages:
    """Encoded images of timm's reader."""

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


def splits(data: Data) -> Listing:
    import sys

    if "datasets" not in sys.modules and find_spec("datasets") is None:
        raise ModuleNotFoundError("data.name hfds needs Hugging Face datasets: pip install datasets")
    first, rest = ([word for words in groups for word in words] for groups in split_names(data))
    return Listing(_first(data, first), _first(data, rest))


def _first(data: Data, names: list[str]) -> Split:
    """Return the first split that exists."""
    from timm.data.readers import create_reader
    from timm.data.readers.reader_hfds import datasets  # the package, which timm needs and dynvit does not

    root = data.root or None
    for name in names:
        try:
            features = datasets.load_dataset(data.repository, split=name, cache_dir=root).features
        except ValueError as error:  # `datasets` raises it for a split that does not exist
            refused = error
        else:
            image, label = _columns(data.repository, features)
            reader = create_reader(f"hfds/{data.repository}", root=root, split=name, input_key=image, target_key=label)
            return _split(data, name, reader)
    raise ValueError(f"{data.repository} has no split {' or '.join(names)}: {refused}") from refused


def _columns(repository: str, features: Mapping[str, Any]) -> list[str]:
    """Return the columns of images and of labels: image and label, or else the only ones of those types."""
    found = []
    for column, kind in (("image", "Image"), ("label", "ClassLabel")):
        fitting = [name for name, feature in features.items() if type(feature).__name__ == kind]
        if column not in features and len(fitting) != 1:
            those = f"and {', '.join(fitting)} are" if fitting else "and none is"
            raise ValueError(
                f"{repository} has no column {column}, {those} of type {kind}; its columns are {', '.join(features)}. "
                "A data set of own code (dynvit.register_dataset) can return any of them"
            )
        found.append(column if column in features else fitting[0])
    return found


def _split(data: Data, split: str, reader: Any) -> Split:
    index, where = reader.class_to_idx, f"{data.repository}/{split}"
    labels = [int(label) if isinstance(label, bool) else label for label in _targets(reader)]
    named = tuple(sorted(index, key=index.__getitem__)) or None
    (classes,), (numbers,) = number_classes(where, None, [named], [labels])
    return Split(split, classes, HubImages(reader, where), numbers, data.repository, class_list=True)


def _targets(reader: Any) -> Iterable[Any]:
    """Return labels only: newer readers of timm provide them, in older ones they are a column."""
    if hasattr(reader, "iter_targets"):
        return reader.iter_targets()
    column: Iterable[Any] = reader.dataset[reader.label_key]
    return column
