"""Images that could not be decoded and were left out: said in the log, counted in events and result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dynvit.train.training import Training

NAMED = 20
"""So many of them are named in the result."""


def count(training: Training) -> dict[str, float]:
    """The event `corrupt_images` after an epoch, over all processes; none where the config allows no such image."""
    if not training.config.data.max_corrupt:
        return {}
    corrupt = training.data.corrupt
    found = {name: why for each in training.together.gathered(corrupt.found) for name, why in each.items()}
    for name, why in list(found.items())[training.left_out :]:
        training.context.say(f"left out: {name} cannot be read as an image: {why}")
    training.left_out = len(found)
    corrupt.found = {}
    corrupt.add(found.items())
    return {"corrupt_images": float(len(found))}


def summary(training: Training) -> tuple[dict[str, float], dict[str, Any]]:
    """For the result: a metric, and the names of the first."""
    if not training.config.data.max_corrupt:
        return {}, {}
    found = training.data.corrupt.found
    return {"corrupt_images": float(len(found))}, {"left_out": sorted(found)[:NAMED]}
