"""The amount of work in a trial of `classify`, for the forecast of `studies plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dynvit.config.data import KNOWN_SETS, KnownSet
from dynvit.config.evaluation import MOST_COMPARED, warm_up
from dynvit.config.extensions import DATA_SETS

DEFAULT_CLASSES = 1000
IMAGENET_TRAIN_PER_VAL = 25


class SetSize(NamedTuple):
    """Size of a data set, by its config."""

    images: int | None
    """For training; None where the config does not say."""
    val: int
    channels: int
    classes: int
    size: int
    device_bytes: int
    """Bytes of images that are kept on the device."""


def work(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the work of a training by its resolved config.

    `images` are trained on and `seen` pass forward only, over all epochs, shared by all processes; those `alone` pass
    through one of them at the end; None where the number of images is unknown. `held`: bytes of images on the device;
    `copies`: further copies of the weights; `taught`: images that a teacher is trained on. A source's images count by
    their area relative to the trial's own; they are dropped before those load.
    """
    data, train = _set_size(config["data"]), config["train"]
    source, before = _set_size(config["source"]["data"]), config["source"]["epochs"]
    area = (source.size / data.size) ** 2
    teacher_epochs = config["teacher"]["epochs"] if config["teacher"]["model"].get("name") else 0
    once, first = data.images or 0, (source.images or 0) * bool(before)
    unknown = data.images is None or (before > 0 and source.images is None)
    batch = train["batch_size"]
    return {
        "size": data.size,
        "channels": data.channels,
        "classes": data.classes,
        "batch": batch / train["accumulate"],
        "images": None if unknown else once * train["epochs"] + round(first * before * area),
        "seen": data.val * max(train["epochs"], 1) + round(source.val * before * area),
        "alone": _measured(config, data),
        "steps": (once // batch * train["epochs"] + first // batch * before) * train["accumulate"],
        "copies": int(train["ema"] > 0),
        "amp": train["amp"] != "off",
        "held": max(data.device_bytes, source.device_bytes if before else 0),
        "taught": (once + round(first * area)) * teacher_epochs,
    }


def _measured(config: Mapping[str, Any], data: SetSize) -> int:
    """Return the images of the final measurements: predictions, the gap to training images, MACs, and speed, where a
    reduced model is timed in turn with its backbone."""
    evaluation, reducer = config["evaluation"], config.get("reducer", {})  # a key that most configs lack
    rounds = evaluation["timed_batches"] + warm_up(evaluation["timed_batches"])
    timed = evaluation["timed_batch_size"] * rounds * (1 + bool(reducer.get("name")))
    return data.val + min(data.images or 0, data.val, MOST_COMPARED) + evaluation["counted_images"] + timed


def _set_size(data: Mapping[str, Any]) -> SetSize:
    known: KnownSet | None = KNOWN_SETS.get(data["name"])
    images, val = (known.train, known.val) if known else (None, None)
    own = DATA_SETS.get(data["name"])
    channels, classes = (known.channels, known.classes) if known else (own.channels, own.classes) if own else (3, None)
    if data["labels"]:
        share = len(data["labels"]) / classes if classes else 1.0
        images, val = (round(n * share) if n else n for n in (images, val))
        classes = len(data["labels"])
    images, choose = data["images"] or images, data.get("choose", 0)  # a key that most configs lack
    if images is not None and choose:
        images = max(images - choose, 0)
    if images is not None and data["limit"]:
        images = min(images, data["limit"])
    val = min(filter(None, (data["val_limit"], val)), default=(images or 0) // IMAGENET_TRAIN_PER_VAL)
    val += choose
    kept = known is not None or (data["in_memory"] != "never" and data["image_size"] <= 64)
    device_bytes = ((images or 0) + val) * channels * data["image_size"] ** 2 if kept else 0
    return SetSize(
        images, val, channels, data["classes"] or classes or DEFAULT_CLASSES, data["image_size"], device_bytes
    )
