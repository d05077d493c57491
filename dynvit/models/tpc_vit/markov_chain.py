"""The two-state chain of a token, active or paused, and the gate it opens (TPC-ViT, reconstructed).

A token is paused with probability p and brought back with probability r, both estimated after every layer. What
breaks its propagation is ``b = p (1 - r)``; the probability of being active follows
``pi' = pi (1 - b) + (1 - pi) r``, starting at 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.layers.token_gather import inverse, top_tokens


def break_probability(p: Tensor, r: Tensor) -> Tensor:
    """Paused and not restarted."""
    return p * (1 - r)


def advance(pi: Tensor, b: Tensor, r: Tensor) -> Tensor:
    """Probability of being active in the next layer; its limit for constant b, r is ``r / (b + r)``."""
    return pi * (1 - b) + (1 - pi) * r


def topk_indices(priority_BN: Tensor, count: int) -> Tensor:
    """Indices ``[B, count]`` of the tokens with the highest priority, in raster order."""
    return top_tokens(priority_BN, count).sort(dim=1).values


def index_to_mask(index_BK: Tensor, tokens: int) -> Tensor:
    """``bool[B, tokens]``, true at the indices."""
    return torch.zeros(index_BK.shape[0], tokens, dtype=torch.bool, device=index_BK.device).scatter_(1, index_BK, True)


def topk_mask(priority_BN: Tensor, count_B: Tensor) -> Tensor:
    """``bool[B, N]``, true for the `count_B` tokens of each image with the highest priority."""
    rank_BN = inverse(top_tokens(priority_BN, priority_BN.shape[1]))
    return rank_BN < count_B[:, None]


def merged(values_BSN: Tensor, grid: tuple[int, int]) -> Tensor:
    """Means over 2 x 2 tokens, as patch merging joins them; an odd border has what is there."""
    map_BSHW = values_BSN.unflatten(-1, grid)
    return F.avg_pool2d(map_BSHW, 2, ceil_mode=True, count_include_pad=False).flatten(-2)


def gate(x_BTC: Tensor, y_BTC: Tensor, active_BT: Tensor | None, pi_BT: Tensor) -> Tensor:
    """``x + g (y - x)`` with the straight-through gate ``g = active + pi - sg(pi)``; None means all active.

    A selection and not an arithmetic mix, so that a paused token keeps its bits and so does an active one.
    Without gradients call ``torch.where``.
    """
    return _StraightThroughGate.apply(x_BTC, y_BTC, active_BT, pi_BT)  # type: ignore[no-any-return]


class _StraightThroughGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, y_BTC: Tensor, active_BT: Tensor | None, pi_BT: Tensor) -> Tensor:
        ctx.save_for_backward(x_BTC, y_BTC, active_BT)
        ctx.dtype = pi_BT.dtype
        if active_BT is None:
            return y_BTC
        return torch.where(active_BT[..., None], y_BTC, x_BTC)

    @staticmethod
    def backward(ctx: Any, grad_BTC: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x_BTC, y_BTC, active_BT = ctx.saved_tensors
        grad_pi = (grad_BTC * (y_BTC - x_BTC)).sum(-1).to(ctx.dtype)
        if active_BT is None:
            return None, grad_BTC, None, grad_pi
        passed_BTC = grad_BTC * active_BT[..., None]
        return grad_BTC - passed_BTC, passed_BTC, None, grad_pi
