"""What `classify` tells `studies plan` and `studies doctor`: how much work a config is, and how its data are.

Read without torch, as the task is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config

SIZES = {"digits": (1437, 360, 1, 10), "cifar10": (50_000, 10_000, 3, 10), "cifar100": (50_000, 10_000, 3, 100)}
"""Training and validation images, channels, classes of sets that are the same everywhere."""


def work(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a training amounts to. `images` are trained on and `seen` pass forward only, over all epochs; None where the
    config does not say how many images there are. `held`: bytes of images on the device; `copies` of the weights."""
    data, train = config["data"], config["train"]
    known, known_val, channels, classes = SIZES.get(data["name"], (None, None, 3, None))
    images = data["images"] or known
    if images is not None and data["limit"]:
        images = min(images, data["limit"])
    val = data["val_limit"] or known_val or (images or 0) // 25  # ImageNet's share
    pixels = channels * data["image_size"] ** 2
    kept = data["name"] in SIZES or (data["in_memory"] != "never" and data["image_size"] <= 64)
    teacher = config["teacher"]
    return {
        "size": data["image_size"],
        "channels": channels,
        "classes": data["classes"] or classes or 1000,
        "batch": train["batch_size"] / train["accumulate"],
        "images": images and images * train["epochs"],
        "seen": val * train["epochs"],
        "steps": (images or 0) // train["batch_size"] * train["epochs"] * train["accumulate"],
        "copies": int(train["ema"] > 0),
        "amp": train["amp"] != "off",
        "held": ((images or 0) + val) * pixels if kept else 0,
        "taught": (images or 0) * teacher["epochs"] if teacher["model"].get("name") else 0,
    }


def inspect(config: Config) -> list[tuple[str, str, str]]:
    """For `studies doctor --data`: (fine, note or attention; what was found; what to do) of the data set."""
    from dynvit.data.inspection import inspect as look

    return list(look(config.data, config.train.batch_size))


def weigh(options: Mapping[str, Any], size: int, channels: int, classes: int) -> dict[str, float]:
    """What a training step of a model takes, counted on this machine: see ``dynvit.cost.training``."""
    from dynvit.cost.training import weigh as count

    return count(options, size, channels, classes)
