"""Decisions about tokens at full precision: half precision gives many tokens one score, and the cut becomes chance."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def autocast_off(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast on the device of x; nothing where autocast is not on."""
    device = x.device.type
    on = device != "meta" and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def run_at_full_precision(net: nn.Module, *inputs: Tensor | None) -> Tensor:
    """Return what a router or predictor makes of the inputs without autocast, at least in float32."""
    first = next(x for x in inputs if x is not None)
    dtype = next((p.dtype for p in net.parameters()), first.dtype)
    with autocast_off(first):
        return at_least_float32(net(*(x if x is None or x.dtype == dtype else x.to(dtype) for x in inputs)))
