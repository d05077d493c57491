"""Decisions about tokens at full precision: half precision gives many tokens one score, and the cut becomes chance."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of x; nothing where autocast is not on."""
    device = x.device.type
    on = device != "meta" and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def run_at_full_precision(net: nn.Module, *inputs: Tensor | None) -> Tensor:
    """Return what a router or predictor makes of the inputs without autocast, at least in float32: weights of half
    precision are widened too."""
    first = next(x for x in inputs if x is not None)
    own = next((p.dtype for p in net.parameters()), first.dtype)
    dtype = torch.promote_types(own, torch.float32)
    given = [x if x is None or x.dtype == dtype else x.to(dtype) for x in inputs]
    with autocast_off(first):
        if own == dtype:
            return net(*given)  # type: ignore[no-any-return]
        wide = {name: at_least_float32(x) for name, x in (*net.named_parameters(), *net.named_buffers())}
        return functional_call(net, wide, tuple(given))  # type: ignore[no-any-return]
