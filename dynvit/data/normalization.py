"""Mean and deviation of each channel, of values in 0..1, to which images from files are normalized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import get_pretrained_cfg

from dynvit.config.data import Data, channels_of

Statistics = tuple[Sequence[float], Sequence[float]]


def expected_by(model: str) -> Statistics:
    """Return what timm's weights of a model expect; those that this package's models start from expect ImageNet's."""
    found = get_pretrained_cfg(model)
    return (found.mean, found.std) if found else (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def resolved(data: Data, model: str) -> Data:
    """Return `data` with numbers where it says "model"."""
    return replace(data, normalize=_of_channels(expected_by(model), data)) if data.normalize == "model" else data


def mean_std(data: Data) -> Statistics:
    if data.normalize == "imagenet":
        return _of_channels((IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD), data)
    mean, std = data.normalize
    return tuple(mean), tuple(std)  # type: ignore[arg-type]


def _of_channels(colors: Statistics, data: Data) -> Statistics:
    """Return the statistics for the channels of a set: gray images have the means over the colors."""
    if channels_of(data.name) == len(colors[0]):
        return colors
    mean, std = ((sum(numbers) / len(numbers),) for numbers in colors)
    return mean, std
