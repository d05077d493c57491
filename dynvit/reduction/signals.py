"""Signals: what a block's attention knows of its tokens, computed when a method asks for it.

At least in float32 and without autocast, since it decides which tokens stay; not counted as MACs, as in the papers.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from dynvit.layers.attention import cls_attention
from dynvit.layers.full_precision import at_least_float32, autocast_off
from dynvit.layers.mac_counting import exclude_from_macs


class Signals(NamedTuple):
    """Queries, keys, values ``[B, H, N, C]`` of a block's attention, and what was added to its logits, if anything:
    ``[B or 1, H or 1, N or 1, N]``. map_BHNN: the softmax, where it is not that of these alone."""

    q_BHND: Tensor
    k_BHND: Tensor
    v_BHND: Tensor
    bias: Tensor | None
    map_BHNN: Tensor | None = None

    def keys(self) -> Tensor:
        """Means of the keys over heads ``[B, N, C]``, without gradient."""
        return at_least_float32(self.k_BHND.detach().transpose(1, 2)).mean(2)  # heads lie together in memory

    def unit_keys(self) -> Tensor:
        """The same, of length 1."""
        return F.normalize(self.keys(), dim=-1)

    def class_rows(self) -> Tensor:
        """Attention of the class token to every token, per head: ``[B, H, N]``."""
        bias = self.bias if self.bias is None or self.bias.shape[2] == 1 else self.bias[:, :, :1]
        return cls_attention(self.q_BHND, self.k_BHND, bias)

    def class_row(self) -> Tensor:
        """The same, mean over heads: ``[B, N]``."""
        return self.class_rows().mean(1)

    def attention(self, counted: bool = False) -> Tensor:
        """The whole map: ``[B, H, N, N]``; as large as unfused attention. counted: it is the block's own product."""
        if self.map_BHNN is not None:
            return at_least_float32(self.map_BHNN)
        with nullcontext() if counted else exclude_from_macs(), autocast_off(self.q_BHND):
            q, k = (at_least_float32(y).flatten(0, 1) for y in (self.q_BHND, self.k_BHND))
            scale, bias = q.shape[-1] ** -0.5, self.bias
            if bias is None:
                logits = (q * scale).bmm(k.mT)
            else:  # added within the product: the map is large, and every pass over it costs
                bias = bias.expand(*self.k_BHND.shape[:2], -1, -1).flatten(0, 1).to(q.dtype)
                logits = bias.baddbmm(q, k.mT, alpha=scale)
        return logits.softmax(-1).unflatten(0, self.k_BHND.shape[:2])


def similarity(a_BSC: Tensor, b_BTC: Tensor) -> Tensor:
    """Products of all pairs ``[B, S, T]``; the published costs leave them out."""
    with exclude_from_macs(), autocast_off(a_BSC):
        return a_BSC.matmul(b_BTC.transpose(1, 2))
