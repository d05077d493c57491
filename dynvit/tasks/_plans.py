"""What `classify` tells `studies plan` and `studies doctor`: how much work a config is, and how its data are.

Read without torch, as the task is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config

FILES = ("folder", "tar", "wds")
SIZES = {"digits": (1437, 360, 1, 10), "cifar10": (50_000, 10_000, 3, 10), "cifar100": (50_000, 10_000, 3, 100)}
"""Training and validation images, channels, classes of sets that are the same everywhere."""


class Set(NamedTuple):
    """A data set by its config."""

    images: int | None
    """To train on; None where nobody has said how many."""
    val: int
    channels: int
    classes: int
    size: int
    held: int
    """Bytes on the device."""


def work(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a training amounts to. `images` are trained on and `seen` pass forward only, over all epochs; None where the
    config does not say how many images there are. `held`: bytes of images on the device; `copies` of the weights.

    A source's images count by their area as so many of the trial's own; they are gone when those come.
    """
    data, train = _set(config["data"]), config["train"]
    source, before = _set(config["source"]["data"]), config["source"]["epochs"]
    area = (source.size / data.size) ** 2
    teaching = config["teacher"]["epochs"] if config["teacher"]["model"].get("name") else 0
    once, first = data.images or 0, (source.images or 0) * bool(before)
    unknown = data.images is None or (before > 0 and source.images is None)
    batch = train["batch_size"]
    return {
        "size": data.size,
        "channels": data.channels,
        "classes": data.classes,
        "batch": batch / train["accumulate"],
        "images": None if unknown else once * train["epochs"] + round(first * before * area),
        "seen": data.val * train["epochs"] + round(source.val * before * area),
        "steps": (once // batch * train["epochs"] + first // batch * before) * train["accumulate"],
        "copies": int(train["ema"] > 0),
        "amp": train["amp"] != "off",
        "held": max(data.held, source.held if before else 0),
        "taught": (once + round(first * area)) * teaching,
    }


def _set(data: Mapping[str, Any]) -> Set:
    known, known_val, channels, classes = SIZES.get(data["name"], (None, None, 3, None))
    if data["labels"]:
        share = len(data["labels"]) / classes if classes else 1.0
        known, known_val = (round(n * share) if n else n for n in (known, known_val))
        classes = len(data["labels"])
    images = data["images"] or known
    if images is not None and data["limit"]:
        images = min(images, data["limit"])
    val = data["val_limit"] or known_val or (images or 0) // 25  # ImageNet's share
    kept = data["name"] in SIZES or (data["in_memory"] != "never" and data["image_size"] <= 64)
    held = ((images or 0) + val) * channels * data["image_size"] ** 2 if kept else 0
    return Set(images, val, channels, data["classes"] or classes or 1000, data["image_size"], held)


def missing(config: Config, roots: ModuleType) -> Iterator[str]:
    """Data sets in files whose folder is not on this machine; where the trials run it may be."""
    for data in [config.data, *([config.source.data] if config.source.epochs else [])]:
        if data.name in FILES:
            try:
                roots.find_root(data)
            except FileNotFoundError as error:
                yield f"{error}; it must be where the trials run (studies doctor --data)"


def inspect(config: Config) -> list[tuple[str, str, str]]:
    """For `studies doctor --data`: (fine, note or attention; what was found; what to do) of the data set."""
    from dynvit.data.inspection import inspect as look

    return list(look(config.data, config.train.batch_size))


def weigh(options: Mapping[str, Any], size: int, channels: int, classes: int) -> dict[str, float]:
    """What a training step of a model takes, counted on this machine: see ``dynvit.profiling.training_cost``."""
    from dynvit.profiling.training_cost import weigh as count

    return count(options, size, channels, classes)
