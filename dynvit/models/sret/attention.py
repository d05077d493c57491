"""Self-attention inside consecutive runs of tokens, as one fused call over batch x groups (SReT, section 3)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def group_attention(qkv_BNE: Tensor, heads: int, groups: int, scale: float) -> Tensor:
    """Attention of N tokens cut into `groups` runs of N / groups; one group is plain attention.

    qkv_BNE: queries, keys, values side by side, E = 3 * heads * D, heads inside each third.
    Returns ``[B, N, heads * D]``, before the output projection. A run is a view of contiguous tokens and
    the kernel takes strided queries, keys and values, so nothing is copied on the way in or out.
    """
    b, n, e = qkv_BNE.shape
    d = e // (3 * heads)
    q_GHND, k_GHND, v_GHND = qkv_BNE.view(b * groups, n // groups, 3, heads, d).permute(2, 0, 3, 1, 4).unbind(0)
    out_GHND = F.scaled_dot_product_attention(q_GHND, k_GHND, v_GHND, scale=scale)
    return out_GHND.transpose(1, 2).reshape(b, n, heads * d)
