"""Importance of each patch token in each layer of a model, by three scores that need no training.

attention   attention of the class token to each patch in a block, mean over heads, with every token as a key:
            computed from the states before the block, where a paused, halted or pruned token has its last state. So it
            is comparable between DeiT and models that leave tokens out. Without a class token (Swin): attention that
            each patch receives, mean over heads and queries of its window.
own         the score by which the model itself ranks tokens, as it records it (``dynvit.tokens``).
norm        the Euclidean norm of each token's state after a layer.

All return a list with one ``[B, N]`` per layer, patches in raster order, None for a layer without score; or None for a
model without such scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynvit.interface import interface_of
from dynvit.layers.attention import full_cls_attention
from dynvit.tokens import trace_tokens

Scores = list[Tensor | None]


@torch.no_grad()
def importance(kind: str, model: nn.Module, images: Tensor) -> Scores | None:
    """Return scores per layer. kind: "attention", "own" or "norm". The model must be in eval mode."""
    scorers = {"attention": (class_attention, attention_received), "own": (model_score,), "norm": (state_norm,)}
    if kind not in scorers:
        raise ValueError(f'token scores are "attention", "own" or "norm", not {kind!r}')
    return next((found for scorer in scorers[kind] if (found := scorer(model, images)) is not None), None)


def class_attention(model: nn.Module, images: Tensor) -> Scores | None:
    """Return class-token attention; for timm's vision transformers with a class token and models built on them."""
    hooks = interface_of(model)
    embedded_BTC = hooks.embed_tokens(images) if hooks.has_intermediates else None
    if embedded_BTC is None:
        return None
    states = model.forward_intermediates(
        images, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )  # patches and class token separately
    before = [embedded_BTC] + [torch.cat([prefix, patches], 1) for patches, prefix in states[:-1]]
    prefix = states[0][1].shape[1]
    before = [hooks.block_input(i, x_BTC) for i, x_BTC in enumerate(before)]
    blocks = [model.blocks[i] for i in range(len(model.blocks))]
    return [full_cls_attention(block, x_BTC)[:, prefix:] for block, x_BTC in zip(blocks, before, strict=True)]


def attention_received(model: nn.Module, images: Tensor) -> Scores | None:
    """Return the mean attention that each patch receives; windows are merged back to the grid."""
    hooks = interface_of(model)
    if (own := hooks.received_attention(images)) is not None:
        return own
    blocks = [m for m in model.modules() if hasattr(getattr(m, "attn", None), "attn_drop")]
    received: list[Tensor] = []
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(_record_attention(block, hooks.num_prefix_tokens, received))
        model(images)
    return received if blocks and len(received) == len(blocks) else None


@contextmanager
def _record_attention(block: Any, prefix: int, received: list[Tensor]) -> Iterator[None]:
    """Append what each patch receives; attention is not fused meanwhile, so that its matrix passes `attn_drop`."""
    shape: list[torch.Size] = []

    def record(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        mean = args[0].mean((1, 2))  # [B (times windows), keys]
        received.append(mean[:, prefix:] if len(shape[-1]) == 3 else _merge_windows(block, mean, shape[-1]))

    attn, fused = block.attn, getattr(block.attn, "fused_attn", False)
    handles = [block.register_forward_pre_hook(lambda _, args: shape.append(args[0].shape))]
    handles.append(attn.attn_drop.register_forward_pre_hook(record))
    attn.fused_attn = False
    try:
        yield
    finally:
        attn.fused_attn = fused
        for handle in handles:
            handle.remove()


def _merge_windows(block: Any, received_WN: Tensor, shape_BHWC: torch.Size) -> Tensor:
    """Merge Swin's windows ``[B * windows, h * w]`` to ``[B, H * W]``, undoing cyclic shift and padding."""
    (h, w), (B, H, W, _) = block.window_size, shape_BHWC
    rows, cols = -(-H // h), -(-W // w)
    grid = received_WN.view(B, rows, cols, h, w).permute(0, 1, 3, 2, 4).reshape(B, rows * h, cols * w)
    return grid[:, :H, :W].roll(tuple(block.shift_size), (1, 2)).reshape(B, H * W)


def model_score(model: nn.Module, images: Tensor) -> Scores | None:
    """Return the scores that the model records in its trace, if it has any."""
    if not interface_of(model).records_tokens:
        return None
    with trace_tokens(model) as trace:
        model(images)
    scores: Scores = list(trace.scores)
    return scores if any(s is not None for s in scores) else None


def state_norm(model: nn.Module, images: Tensor) -> Scores | None:
    """Return the norm of each token's state after each layer (after each stage, if timm provides no more)."""
    if not interface_of(model).has_intermediates:
        return None
    maps = model.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
    return [x_BCHW.float().norm(dim=1).flatten(1) for x_BCHW in maps]
