"""How many tokens EViT keeps: rates per location, and their cosine descent over the epochs of a training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RECIPE = (10, 100, 300)  # the rate starts to fall at epoch 10, falls for 100 epochs, of 300


@dataclass(frozen=True)
class CosineKeepRate:
    """start, duration: epochs; None is the recipe's share of the whole training, rounded down."""

    start: int | None
    duration: int | None

    def __post_init__(self) -> None:
        for name, value in (("shrink_start", self.start), ("shrink_epochs", self.duration)):
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")

    def rate(self, final: float, epoch: float, epochs: int) -> float:
        """1 up to the start, half a cosine down to `final`, then `final`; epoch counts from 0."""
        begins, lasts, whole = RECIPE
        start = epochs * begins // whole if self.start is None else self.start
        duration = epochs * lasts // whole if self.duration is None else self.duration
        if epoch < start:
            return 1.0
        if epoch >= start + duration:
            return final
        done = (epoch - start) / duration
        return final + (1 - final) * (math.cos(math.pi * done) + 1) / 2


def rates(keep_rate: float | Sequence[float], locations: Sequence[int], depth: int) -> dict[int, float]:
    """Block -> keep rate, from a number for all locations or one for each."""
    places = tuple(locations)
    if list(places) != sorted(set(places)):
        raise ValueError(f"locations must be increasing block numbers, got {places}")
    wrong = [place for place in places if not 0 <= place < depth]
    if wrong:
        raise ValueError(f"locations must be blocks of this model, 0 to {depth - 1}, got {wrong[0]}")
    values = tuple(keep_rate) if isinstance(keep_rate, Sequence) else (keep_rate,) * len(places)
    if len(values) != len(places):
        raise ValueError(f"keep_rate has {len(values)} entries, needed is one for each of {len(places)} locations")
    for value in values:
        if not 0 < value <= 1:
            raise ValueError(f"keep_rate must lie in (0, 1], got {value}")
    return {place: float(value) for place, value in zip(places, values, strict=True)}


def kept_tokens(rate: float, tokens: int) -> int:
    """Return how many of the `tokens`, class token excluded and an earlier fused one included, stay."""
    return math.ceil(rate * tokens)
