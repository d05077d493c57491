"""Attention that a dropped token leaves smoothly: the masked softmax that DynamicViT trains with."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

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


def masked_attention(q_BHTD: Tensor, k_BHTD: Tensor, v_BHTD: Tensor, mask_BT: Tensor, scale: float) -> Tensor:
    """``masked_softmax(q k' scale, mask) v`` of the same numbers, with gradients of all four ``[B, H, T, D]``.

    Nothing of size T x T is kept for the backward pass, which computes it again, as fused attention does. That itself
    is no way: of a mask added as a logarithm, a dropped token has an infinite gradient and not its own.
    """
    return _MaskedAttention.apply(q_BHTD, k_BHTD, v_BHTD, mask_BT, scale)  # type: ignore[no-any-return]


class _MaskedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask_BT: Tensor, scale: float) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()  # else each product below copies them
        logits = (q @ k.transpose(-2, -1)).mul_(scale)
        top = logits.amax(-1, keepdim=True)
        e = _keep(_exp(logits, top), mask_BT)
        total = e.sum(-1, keepdim=True).add_(EPS)
        ctx.save_for_backward(q, k, v, mask_BT, top, total)
        ctx.scale = scale
        return e.add_(EPS / e.shape[-1]).div_(total).to(logits.dtype) @ v

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, k, v, mask_BT, top, total = ctx.saved_tensors
        e = _exp((q @ k.transpose(-2, -1)).mul_(ctx.scale).to(top.dtype), top)
        share = _keep(e.clone(), mask_BT).add_(EPS / e.shape[-1]).div_(total)
        grad = grad.to(v.dtype)
        slope = (grad @ v.transpose(-2, -1)).float()  # of the share
        grad_v = share.to(v.dtype).transpose(-2, -1) @ grad
        mean = share.mul_(slope).sum(-1, keepdim=True)
        slope = slope.sub_(mean).div_(total).mul_(e)  # of the logits, if no token were dropped
        grad_mask = None
        if ctx.needs_input_grad[3]:
            grad_mask = (slope.sum(2) - slope.diagonal(dim1=-2, dim2=-1)).sum(1).to(mask_BT.dtype)
        slope = _keep(slope, mask_BT)
        # the maximum moves all exponents; but for EPS this would be nothing
        slope.scatter_add_(-1, e.argmax(-1, keepdim=True), -slope.sum(-1, keepdim=True))
        slope = slope.to(q.dtype).mul_(ctx.scale)
        return slope @ k, slope.transpose(-2, -1) @ q, grad_v, grad_mask, None


def _exp(logits: Tensor, top: Tensor) -> Tensor:
    """In place, in float32."""
    return logits.sub_(top).float().exp_()


def _keep(e_BHTT: Tensor, mask_BT: Tensor) -> Tensor:
    """The keys weighted by the mask, in place, but each token's own."""
    own = e_BHTT.diagonal(dim1=-2, dim2=-1)
    before = own.clone()
    e_BHTT.mul_(mask_BT[:, None, None].float())
    own.copy_(before)
    return e_BHTT


def soft_masked_block(block: Block, x_BTC: Tensor, mask_BT: Tensor) -> Tensor:
    """Return a timm block's output with that attention instead of its own; all tokens are computed."""
    attn, x = block.attn, block.norm1(x_BTC)
    q, k, v = split_qkv(attn, attn.qkv(x))
    if isinstance(attn.attn_drop, nn.Dropout) and attn.attn_drop.p:  # needs the shares themselves
        mixed = attn.attn_drop(masked_softmax(q @ k.transpose(-2, -1) * attn.scale, mask_BT)) @ v
    else:
        mixed = masked_attention(q, k, v, mask_BT, attn.scale)
    x_BTC = x_BTC + block.drop_path1(block.ls1(project_output(attn, mixed.transpose(1, 2).flatten(2), x)))
    return x_BTC + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BTC))))
