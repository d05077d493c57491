"""The rate of a method at which a reduced model costs what is asked for: methods meet at equal cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from dynvit.macs import complexity
from dynvit.reduction.reducer import Reducer

RATES = ("keep", "ratio", "r")
"""Options that a rate may be given by; of a method that has several the first is picked."""


def rate_for_target(
    method: type[Reducer], options: dict[str, Any], model: Any, reduced: Callable[[dict[str, Any]], Any], gmacs: float
) -> dict[str, Any]:
    """Return the options with the rate at which the model is nearest to `gmacs` (1e9 multiply-accumulates an image).

    reduced: makes the reduced model of options. Counted on an image of the model's size; a method whose counts
    depend on the image may cost less on others. Raises ValueError for a target that no rate reaches.
    """
    name = next(option for option in RATES if option in {field.name for field in fields(method)})
    if name in options:
        raise ValueError(f"target_gmacs picks {name}: give one of the two")
    count = _Counter(model, lambda rate: reduced({**options, name: rate}))
    low, high = _range(method, name, model.patch_embed.num_patches)  # from the least kept to everything
    least, most = count(low), count(high)
    if not 0.999 * least <= gmacs <= 1.001 * most:
        reach = f"{least:.4g} to {most:.4g}"
        raise ValueError(f"target_gmacs must be what {method.name} reaches on this model, {reach}, got {gmacs:g}")
    while count.plan(low) != count.plan(high) and abs(high - low) > (1 if isinstance(low, int) else 1e-4):
        middle = (low + high) // 2 if isinstance(low, int) else (low + high) / 2
        low, high = (middle, high) if count(middle) < gmacs else (low, middle)
    return {**options, name: min((low, high), key=lambda rate: abs(count(rate) - gmacs))}


def _range(method: type[Reducer], name: str, patches: int) -> tuple[float, float]:
    """Return the rates that keep least and all."""
    if method.rate_range is not None:
        return method.rate_range
    if name == "r":
        return max(patches // 2, 1), 0
    return (0.5, 1.0) if name == "ratio" else (1 / patches, 1.0)


class _Counter:
    """Counts each plan once."""

    def __init__(self, model: Any, reduced: Callable[[float], Any]) -> None:
        self.model, self.reduced = model, reduced
        self.known: dict[tuple[int | None, ...], float] = {}
        weight = model.patch_embed.proj.weight
        height, width = model.patch_embed.img_size
        self.image = weight.new_zeros(1, weight.shape[1], height, width)

    def plan(self, rate: float) -> tuple[int | None, ...]:
        return self.reduced(rate).plan(self.model.patch_embed.num_patches)  # type: ignore[no-any-return]

    @torch.no_grad()
    def __call__(self, rate: float) -> float:
        """Return 1e9 multiply-accumulates of an image."""
        model: nn.Module = self.reduced(rate)
        plan = model.plan(self.model.patch_embed.num_patches)  # type: ignore[operator]
        if plan not in self.known:
            self.known[plan] = complexity(model, self.image).gmacs
        return self.known[plan]
