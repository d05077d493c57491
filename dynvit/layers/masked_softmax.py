"""Attention that a dropped token leaves smoothly: the masked softmax that DynamicViT trains with."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.attention import project_output, split_qkv

EPS = 1e-6


def masked_softmax(logits_BHTT: Tensor, mask_BT: Tensor) -> Tensor:
    """Softmax over the keys weighted by the mask, always in float32; a token always sees itself.

    ``(exp(a - max a) m + eps / T) / (sum exp(a - max a) m + eps)``; the maximum is that of all keys.
    """
    T = mask_BT.shape[1]
    mask_B11T = mask_BT[:, None, None]
    weight_B1TT = mask_B11T + (1 - mask_B11T) * torch.eye(T, dtype=mask_BT.dtype, device=mask_BT.device)
    shifted = logits_BHTT - logits_BHTT.amax(-1, keepdim=True)
    e = shifted.float().exp() * weight_B1TT.float()
    return ((e + EPS / T) / (e.sum(-1, keepdim=True) + EPS)).to(logits_BHTT.dtype)


def soft_masked_block(block: Block, x_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """Return a timm block's output with that attention instead of its own; all tokens are computed."""
    attn, x = block.attn, block.norm1(x_BTC)
    q, k, v = split_qkv(attn, attn.qkv(x))
    share = attn.attn_drop(masked_softmax(q @ k.transpose(-2, -1) * attn.scale, mask_BT))
    mixed = project_output(attn, (share @ v).transpose(1, 2).flatten(2), x)
    x_BTC = x_BTC + block.drop_path1(block.ls1(mixed))
    return x_BTC + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BTC))))
