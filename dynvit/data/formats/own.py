"""Data sets of own code: what a function of `dynvit.register_dataset` returns, as two splits of images with labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynvit.config.data import Data
from dynvit.config.extensions import DATA_SETS, DataSet
from dynvit.data.decode import UnreadableImage
from dynvit.data.formats.labels import class_lists, number_classes, plain_labels
from dynvit.data.paths import find_root, places
from dynvit.data.sampling import SPLIT_SEED
from dynvit.data.source import Listing, Split
from dynvit.plugins.modules import blame, defined_at
from dynvit.rng import own_stream

NAMES = ("train", "val")
WANTED = "a tuple (images, labels) or a sequence of (image, label)"


@dataclass(frozen=True)
class OwnImages:
    """Images that a function has returned, by index; whatever is random about them depends on the index alone."""

    where: str
    function: Callable[..., Any]
    """That has returned them."""
    get: Callable[[int], Any]
    count: int
    held: bool
    """In memory, or files: reading them all is cheap."""
    threads: int = 1
    """That read at the same time: own code need not allow for more."""

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> Any:
        """Return an image of PIL, or the encoded image. Raises UnreadableImage, whatever own code raises."""
        try:
            with own_stream(SPLIT_SEED, self.where, index):
                return as_image(self.get(index))
        except (UnreadableImage, OSError):
            raise
        except Exception as error:
            raise UnreadableImage(blame(self.function, error)) from error

    def name(self, index: int) -> str:
        return f"{self.where}[{index}]"

    def path(self, index: int) -> str:
        """Return the absolute path of an image that is a file; empty for any other, and where that would be read."""
        image = self.get(index) if self.held else None
        return os.path.abspath(os.path.expanduser(image)) if isinstance(image, str | os.PathLike) else ""

    def size(self, index: int) -> int:
        """Return the bytes of a file; 1 for what is no file, so that any two are compared."""
        image = self.get(index) if self.held else None
        return os.stat(os.path.expanduser(image)).st_size if isinstance(image, str | os.PathLike) else 1


@dataclass(frozen=True)
class _FirstOfPairs:
    """The images of a sequence of (image, label). A function inside another one cannot be handed to the processes that
    decode, where these are started anew: on macOS, and by Python 3.14."""

    pairs: Any

    def __call__(self, index: int) -> Any:
        return self.pairs[index][0]


def as_image(value: Any) -> Any:
    """Return an image as own code may give it: of PIL, or the content of its file. Raises UnreadableImage."""
    from PIL import Image

    if isinstance(value, Image.Image | bytes):
        return value
    if isinstance(value, str | os.PathLike):
        return Path(value).expanduser().read_bytes()
    found, wanted, pixels = _shown(value), "uint8[H, W, 3], [H, W, 1] or [H, W]", value
    if isinstance(value, torch.Tensor):
        wanted = "uint8[3, H, W], [1, H, W] or [H, W]"
        pixels = np.asarray(value.cpu().movedim(0, -1) if value.ndim == 3 else value.cpu())
    if not isinstance(pixels, np.ndarray):
        raise UnreadableImage(f"it is {found}, not an image of PIL, an array, a tensor or the path of a file")
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))):
        kind = "a tensor" if isinstance(value, torch.Tensor) else "an array"
        raise UnreadableImage(f"it is {found}, and {kind} is {wanted} of values from 0 to 255")
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels))


def splits(data: Data) -> Listing:
    """Call the function. Raises ValueError with its name and what it returned, if that is not what it should be."""
    extension = DATA_SETS[data.name]
    label = f"the data set {data.name} ({defined_at(extension.make)})"
    try:
        with own_stream(SPLIT_SEED, "data set", data.name):  # the same images in every process
            returned = extension.make(**_given(extension, data), **data.options)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{label} fails: {blame(extension.make, error)}") from error
    if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
        raise ValueError(f"{label} returned {_shown(returned)}; it returns train, val or train, val, names of classes")
    parts = [
        _part(f"{label} returned for {name}", name, extension.make, part)
        for name, part in zip(NAMES, returned, strict=False)
    ]
    named = class_lists(label, returned)
    classes, labels = number_classes(label, extension.classes, named, [labels for _, labels in parts])
    place = f"{data.name} ({defined_at(extension.make)})"
    listing = [
        Split(name, classes[i], parts[i][0], labels[i], place, class_list=named[i] is not None)
        for i, name in enumerate(NAMES)
    ]
    for split, (source, _) in zip(listing, parts, strict=True):
        if len(split.labels):
            try:
                source.read(0)
            except UnreadableImage as error:
                raise ValueError(f"{label}: {source.name(0)}: {error}") from error
            except OSError as error:  # a file that is not there is one of `data.max_corrupt`
                _check_some_there(label, split.name, source, error)
    return Listing(*listing)


def _check_some_there(label: str, name: str, images: OwnImages, error: OSError) -> None:
    """Raise FileNotFoundError if none of the files of a split exists."""
    paths = [path for i in range(len(images)) if (path := images.path(i))]
    if paths and not any(map(os.path.exists, paths)):
        raise FileNotFoundError(f"{label}: none of the {len(paths)} files for {name} is there: {paths[0]}") from error


def _given(extension: DataSet, data: Data) -> dict[str, Any]:
    """Return the arguments that are options of every data set. `root` may be left to the function's own default."""
    given: dict[str, Any] = {"image_size": data.image_size} if "image_size" in extension.given else {}
    root = extension.parameters["root"] if "root" in extension.given else None
    if root is not None and (data.root or root.default is root.empty):
        file = next((place for place in places(data) if place.is_file()), None)
        given["root"] = str(file or find_root(data))
    return given


def _part(label: str, name: str, function: Callable[..., Any], part: Any) -> tuple[OwnImages, Sequence[Any]]:
    """Return the images of a split and their labels."""
    if isinstance(part, tuple) and len(part) == 2:
        images, labels = part
        if not (_is_sequence(images) and _is_sequence(labels)):
            raise ValueError(f"{label} ({_shown(images)}, {_shown(labels)}), not {WANTED}")
        if len(images) != len(labels):
            raise ValueError(f"{label} {len(images)} images and {len(labels)} labels")
        return OwnImages(name, function, images.__getitem__, len(images), held=True), labels
    if isinstance(part, str | dict) or not _is_sequence(part):
        raise ValueError(f"{label} {_shown(part)}, not {WANTED}")

    if (known := _listed_labels(label, name, part)) is not None:
        return OwnImages(name, function, _FirstOfPairs(part), len(part), held=False), known
    found = []
    for index in range(len(part)):
        pair = part[index]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ValueError(f"{label} a sequence whose element {index} is {_shown(pair)}, not (image, label)")
        found.append(pair[1])
    images = _FirstOfPairs(part)
    return OwnImages(name, function, images, len(part), held=isinstance(part, list | tuple)), found


def _listed_labels(label: str, name: str, part: Any) -> Sequence[Any] | None:
    """Return the labels that a set lists under torchvision's names, so that no image is decoded for its label; None
    without a list. Raises ValueError if its first element has another label."""
    for attribute in ("targets", "labels"):
        known = getattr(part, attribute, None)
        if not (_is_sequence(known) and len(known) == len(part)):
            continue
        if (transform := getattr(part, "target_transform", None)) is not None:
            known = [transform(value) for value in plain_labels(label, known)]
        try:
            with own_stream(SPLIT_SEED, name, 0):
                first, listed = plain_labels(label, [part[0][1], known[0]])
        except Exception:  # an image that cannot be read, a label with more than its class: told where it matters
            return known  # type: ignore[no-any-return]
        if first != listed and isinstance(first, str) == isinstance(listed, str):  # a name may be listed by its number
            raise ValueError(f"{label} a set whose element 0 has the label {first!r}, and .{attribute} {listed!r}")
        return known  # type: ignore[no-any-return]
    return None


def _is_sequence(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def _shown(value: Any) -> str:
    """Describe a value by its type, and its shape where it has one."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    length = f" of {len(value)}" if isinstance(value, tuple | list | dict) else ""
    return f"{type(value).__name__}{length}" if value is not None else "None"
