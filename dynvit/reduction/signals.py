"""Signals: what a block's attention knows of its tokens, computed when a method asks for it.

At least in float32 and without autocast, since it decides which tokens stay; not counted as MACs, as in the papers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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
        return at_least_float32(self.k_BHND.detach()).mean(1)

    def unit_keys(self) -> Tensor:
        """The same, of length 1."""
        return F.normalize(self.keys(), dim=-1)

    def class_rows(self) -> Tensor:
        """Attention of the class token to every token, per head: ``[B, H, N]``."""
        with exclude_from_macs(), autocast_off(self.q_BHND):
            q_B1HC = at_least_float32(self.q_BHND[:, None, :, 0]) * self.q_BHND.shape[-1] ** -0.5
            k_BND = at_least_float32(self.k_BHND.transpose(1, 2)).flatten(2)
            # Zeros for the keys of other heads: so the keys, side by side in memory, need not be copied.
            own_HH1 = torch.eye(q_B1HC.shape[2], dtype=q_B1HC.dtype, device=q_B1HC.device).unsqueeze(-1)
            logits_BHN = (q_B1HC * own_HH1).flatten(2).matmul(k_BND.transpose(1, 2))
        return (logits_BHN if self.bias is None else logits_BHN + self.bias[:, :, 0]).softmax(-1)

    def class_row(self) -> Tensor:
        """The same, mean over heads: ``[B, N]``."""
        return self.class_rows().mean(1)

    def attention(self, counted: bool = False) -> Tensor:
        """The whole map: ``[B, H, N, N]``; as large as unfused attention. counted: it is the block's own product."""
        if self.map_BHNN is not None:
            return at_least_float32(self.map_BHNN)
        macs = self.k_BHND.numel() * self.k_BHND.shape[2] if counted else 0
        with exclude_from_macs(counted=macs), autocast_off(self.q_BHND):
            q, k, bias = at_least_float32(self.q_BHND), at_least_float32(self.k_BHND), self.bias
            scale = q.shape[-1] ** -0.5
            if bias is not None and bias.shape[2] == 1:
                # One more channel adds it within the product: the map is large, and every pass over it costs.
                column = bias.to(k.dtype).transpose(2, 3).expand(*k.shape[:3], 1)
                q, k, bias = torch.cat((q, torch.full_like(column, 1 / scale)), -1), torch.cat((k, column), -1), None
            logits = q.flatten(0, 1).mul(scale).bmm(k.flatten(0, 1).mT).unflatten(0, k.shape[:2])
        return (logits if bias is None else logits + bias).softmax(-1)


def similarity(a_BSC: Tensor, b_BTC: Tensor) -> Tensor:
    """Products of all pairs ``[B, S, T]``; the published costs leave them out."""
    with exclude_from_macs(), autocast_off(a_BSC):
        return a_BSC.matmul(b_BTC.transpose(1, 2))
