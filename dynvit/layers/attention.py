"""timm's attention layer in parts, for methods that read its queries and keys or run it on some tokens only.

The product itself is always fused. Masks are per key, ``[B, 1, 1, N]``: bool (False hides a key) or float (added to
its logits).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.full_precision import at_least_float32, autocast_off
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_layout import Dense, TokenLayout

DENSE = Dense()


def attend(
    attn: Attention, x: Tensor, layout: TokenLayout = DENSE, mask_B11N: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the output for the layout's tokens, and the queries and keys ``[B, H, N, D]`` of the product.

    x: tokens of the layout, normalized. mask_B11N: instead of the layout's keys.
    """
    mask = key_mask(layout) if mask_B11N is None else mask_B11N
    q_BHND, k_BHND, v_BHND = split_qkv(attn, layout.pad(attn.qkv(x)))
    dropout = attn.attn_drop.p if attn.training else 0.0
    mixed = F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND, attn_mask=mask, dropout_p=dropout)
    return project_output(attn, layout.pack(mixed.transpose(1, 2).flatten(2)), x), q_BHND, k_BHND


def split_qkv(attn: Attention, qkv_BNE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalized queries and keys, and values ``[B, H, N, D]``, of the projection ``[B, N, 3 H D]``."""
    q, k, v = qkv_BNE.unflatten(-1, (3, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
    return attn.q_norm(q), attn.k_norm(k), v


def project_output(attn: Attention, mixed: Tensor, x: Tensor) -> Tensor:
    """Return the layer's output from the mixed values ``[..., C]``; x: the layer's input, for its gate."""
    y = attn.norm(mixed)
    if attn.gate is not None:
        y = y * attn.gate(x).sigmoid()
    y = attn.proj(y)
    return attn.proj_drop(y) if attn.training else y


def key_mask(layout: TokenLayout) -> Tensor | None:
    return None if layout.keys is None else layout.keys[:, None, None]


def cls_attention(q_BHND: Tensor, k_BHND: Tensor, mask_B11N: Tensor | None = None) -> Tensor:
    """Return the attention of the first token, the class token, to every token: ``[B, H, N]``.

    Not counted as MACs: the published costs count this row once, in the attention product. At least in float32,
    since it decides which tokens stay.
    """
    with exclude_from_macs(), autocast_off(q_BHND):
        q_BH1D, k_BHND = at_least_float32(q_BHND[:, :, :1]), at_least_float32(k_BHND)
        logits_BH1N = (q_BH1D * q_BHND.shape[-1] ** -0.5) @ k_BHND.transpose(-2, -1)
    if mask_B11N is not None:
        hidden = mask_B11N.dtype == torch.bool
        logits_BH1N = logits_BH1N.masked_fill(~mask_B11N, -torch.inf) if hidden else logits_BH1N + mask_B11N
    return logits_BH1N.softmax(-1)[:, :, 0]


def full_cls_attention(block: Block, x_BTC: Tensor) -> Tensor:
    """Return the class attention ``[B, T]`` of a block with every token active, mean over heads."""
    attn, x = block.attn, block.norm1(x_BTC)
    C = attn.num_heads * attn.head_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    q = F.linear(x[:, :1], weight[:C], None if bias is None else bias[:C])
    k = F.linear(x, weight[C : 2 * C], None if bias is None else bias[C : 2 * C])
    q, k = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k))
    return cls_attention(attn.q_norm(q), attn.k_norm(k)).mean(1)
