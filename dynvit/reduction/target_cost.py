"""The rate of a method at which a model costs a number of MACs: for comparisons at equal cost."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from itertools import cycle
from typing import Any

import torch
from torch import nn

from dynvit.macs import complexity
from dynvit.reduction.counts import Plan
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.shapes_only import ShapesOnly

Build = Callable[..., Any]
"""The reduced model of a model and options, as keywords."""

CLOSE = 1e-3
"""Share of the target by which a model may miss it: to look for more takes seconds, for every arm of a study."""


def options_at(
    target_gmacs: float, model: nn.Module, cls: type[Reducer], options: Mapping[str, Any], build: Build
) -> Any:
    """The options with the method's rate at which the model costs as near to `target_gmacs` as its counts allow, or
    to 0.1 %, counted for one image of its own size. Methods that decide per image are counted at the most that they may
    keep.

    ValueError for a method without a rate, a rate that is given, or a target out of reach; TypeError for no number.
    """
    if isinstance(target_gmacs, bool) or not isinstance(target_gmacs, int | float):
        raise TypeError(f"target_gmacs is a number of 1e9 multiply-accumulates, not {target_gmacs!r}")
    name = rate_name(cls, options)
    cost, ends = _cost_of(model, name, options, build), _range(name, model)
    check_reach(cls, name, target_gmacs, (cost(ends[0]), cost(ends[1])))
    return {**options, name: _nearest(cost, target_gmacs, *ends, whole=name == "r")}


def rate_name(cls: type[Reducer], options: Mapping[str, Any]) -> str:
    """The option that a target chooses; ValueError where there is none, or where it is given."""
    name = next((field for field in ("keep", "ratio", "r") if field in cls.__dataclass_fields__), None)
    if name is None:
        raise ValueError(f"{cls.name} has no rate to choose; target_gmacs needs keep, ratio or r")
    if name in options:
        raise ValueError(f"target_gmacs chooses {name}; give one of the two")
    return name


def reach(model: nn.Module, cls: type[Reducer], options: Mapping[str, Any], build: Build) -> tuple[float, float]:
    """The least and the most that the method can make of the model, in GMACs."""
    name = rate_name(cls, options)
    cost, (least, most) = _cost_of(model, name, options, build), _range(name, model)
    return cost(least), cost(most)


def check_reach(cls: type[Reducer], name: str, target_gmacs: float, reached: tuple[float, float]) -> None:
    """ValueError for a target outside of what `reach` says."""
    if not reached[0] - 1e-9 <= target_gmacs <= reached[1] + 1e-9:
        raise ValueError(
            f"{cls.name} with {name} costs {reached[0]:.4g} to {reached[1]:.4g} GMACs on this model, "
            f"target_gmacs {target_gmacs:.4g} is out of reach"
        )


def _cost_of(model: nn.Module, name: str, options: Mapping[str, Any], build: Build) -> Callable[[float], float]:
    """GMACs at a rate, each plan counted once."""
    shape = _without_weights(model)
    image = torch.empty(1, *_image_shape(model), dtype=next(model.parameters()).dtype, device="meta")
    costs: dict[Plan, float] = {}

    def cost(rate: float) -> float:
        reduced = build(shape, **{**options, name: rate})
        plan = reduced.plan(reduced.patch_embed.num_patches)
        if plan not in costs:
            with ShapesOnly():
                costs[plan] = complexity(reduced, image).gmacs
        return costs[plan]

    return cost


def _range(name: str, model: Any) -> tuple[float, float]:
    """The rate that costs least and the one that costs most."""
    if name == "r":
        return model.patch_embed.num_patches // 2, 0
    return (0.5 if name == "ratio" else 1 / (2 * model.patch_embed.num_patches)), 1.0


def _nearest(cost: Callable[[float], float], target: float, low: float, high: float, whole: bool) -> float:
    """The rate whose cost is nearest, in few digits, between one of low and one of high cost: by bisection, every
    second step where a straight line would meet the target."""
    least, most = cost(low), cost(high)
    if not least < target < most:
        return low if target <= least else high
    for part in cycle((None, 0.5)):
        near = max(cost(low) / target, target / cost(high)) > 1 - CLOSE
        if near or cost(low) >= cost(high) or abs(high - low) <= (1 if whole else 1e-6):
            break
        part = part or (target - cost(low)) / (cost(high) - cost(low))
        middle = low + (high - low) * part
        if whole:
            middle = min(max(round(middle), min(low, high) + 1), max(low, high) - 1)
        low, high = (middle, high) if cost(middle) <= target else (low, middle)
    best = low if target - cost(low) <= cost(high) - target else high
    if whole:
        return int(best)
    return next(short for digits in range(1, 18) if math.isclose(cost(short := round(best, digits)), cost(best)))


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy on the meta device: the same operators, no data."""
    tensors = [*model.parameters(), *model.buffers()]
    if all(tensor.is_meta for tensor in tensors):
        return model
    memo: dict[int, Any] = {id(tensor): _on_meta(tensor) for tensor in tensors}
    return copy.deepcopy(model, memo)


def _on_meta(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _image_shape(model: Any) -> tuple[int, int, int]:
    channels = next(module.in_channels for module in model.patch_embed.modules() if isinstance(module, nn.Conv2d))
    return (channels, *model.patch_embed.img_size)
