"""Resampling of position and relative-bias tables to a model's grid."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn


def resample_tables(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return the state with its tables on the model's grid; for timm's own models by timm's filter function."""
    state = dict(state)
    filter_fn = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if filter_fn is not None and type(model).__module__.startswith("timm."):
        state = dict(filter_fn(state, model))
    own = model.state_dict()
    for name, table in state.items():
        if name in own and "pos" in name.rsplit(".", 1)[-1] and own[name].shape != table.shape:
            state[name] = _resample(table, own[name])
    return state


def _resample(table: Tensor, own: Tensor) -> Tensor:
    """Resample a square table ``[1, prefix + side**2, C]`` to another square grid with the same number of prefixes."""
    if table.ndim != 3 or table.shape[::2] != own.shape[::2]:
        return table
    for prefix in (1, 0, 2):
        sides = [math.isqrt(n - prefix) for n in (table.shape[1], own.shape[1])]
        if all(side**2 + prefix == t.shape[1] for side, t in zip(sides, (table, own), strict=True)):
            return resample_abs_pos_embed(table, [sides[1]] * 2, [sides[0]] * 2, num_prefix_tokens=prefix)
    return table
