"""A timm attention layer run with its queries and keys laid open, for methods that rank or match tokens by them."""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers import Attention
from torch import Tensor


def attend(attn: Attention, x_BNC: Tensor, mask_B11N: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Output ``[B, N, C]``, queries and keys ``[B, H, N, D]``: those that meet in the product, so after their norms.

    Fused whatever timm's setting. mask_B11N: per key, bool (False hides it) or float (added to its logits).
    """
    qkv = attn.qkv(x_BNC).unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4)
    q_BHND, k_BHND, v_BHND = qkv.unbind(0)
    q_BHND, k_BHND = attn.q_norm(q_BHND), attn.k_norm(k_BHND)
    dropout = attn.attn_drop.p if attn.training else 0.0
    mixed = F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND, attn_mask=mask_B11N, dropout_p=dropout)
    y_BNC = attn.norm(mixed.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        y_BNC = y_BNC * attn.gate(x_BNC).sigmoid()
    y_BNC = attn.proj(y_BNC)
    return (attn.proj_drop(y_BNC) if attn.training else y_BNC), q_BHND, k_BHND
