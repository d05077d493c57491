"""How important each patch token is in each layer of a model, in three ways that need no training.

attention   how much the class token looks at each patch in a block, mean over heads, with every token as a key:
            computed from the states in front of the block, where a paused, finished or removed token stands with the
            last state it had. So it is the same question for DeiT and for models that leave tokens out. Without a
            class token (Swin): how much each patch is looked at, mean over heads and queries of its window.
own         what the model itself ranks by, as it records it (``dynvit.tokens``).
norm        the length of each token's state after a layer.

All give a list with one ``[B, N]`` per layer, patches in raster order, None where a layer has no score; or None
altogether, where a model has no such scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynvit.tokens import trace_tokens

Scores = list[Tensor | None]


@torch.no_grad()
def importance(kind: str, model: nn.Module, images: Tensor) -> Scores | None:
    """kind: "attention", "own" or "norm". The model is in eval mode."""
    ways = {"attention": (class_attention, received_attention), "own": (recorded,), "norm": (state_norm,)}
    if kind not in ways:
        raise ValueError(f'token scores are "attention", "own" or "norm", not {kind!r}')
    return next((found for way in ways[kind] if (found := way(model, images)) is not None), None)


def class_attention(model: nn.Module, images: Tensor) -> Scores | None:
    """For vision transformers of timm's build with a class token, ours among them."""
    if getattr(model, "cls_token", None) is None or not hasattr(model, "forward_intermediates"):
        return None
    if not hasattr(model, "_pos_embed"):
        return None
    embedded_BTC = model._pos_embed(model.patch_embed(images))
    for stage in ("patch_drop", "norm_pre"):
        embedded_BTC = getattr(model, stage, nn.Identity())(embedded_BTC)
    states = model.forward_intermediates(
        images, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
    )  # patches and class token apart
    before = [embedded_BTC] + [torch.cat([prefix, patches], 1) for patches, prefix in states[:-1]]
    prefix = states[0][1].shape[1]
    if hasattr(model, "_stabilize"):  # TPC-ViT's blocks see the states through its stabilizer
        before = [model._stabilize(i, x_BTC, model.patch_embed.grid_size)[0] for i, x_BTC in enumerate(before)]
    blocks = [model.blocks[i] for i in range(len(model.blocks))]
    return [class_row(block, x_BTC)[:, prefix:] for block, x_BTC in zip(blocks, before, strict=True)]


def class_row(block: Any, x_BTC: Tensor) -> Tensor:
    """The class token's row of the attention that a block would have over all of these tokens, mean over heads."""
    attn = block.attn
    q_BHTD, k_BHTD, _ = attn.qkv(block.norm1(x_BTC)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    q_BH1D = getattr(attn, "q_norm", nn.Identity())(q_BHTD[:, :, :1])
    k_BHTD = getattr(attn, "k_norm", nn.Identity())(k_BHTD)
    return (q_BH1D * attn.scale @ k_BHTD.mT).softmax(-1).mean(1)[:, 0]


def received_attention(model: nn.Module, images: Tensor) -> Scores | None:
    """Mean attention that each patch receives; on a grid without class token, windows put back in their places."""
    if hasattr(model, "received_attention"):  # TPC-ViT on Swin, whose paused tokens skip the blocks
        return model.received_attention(images)  # type: ignore[no-any-return]
    blocks = [m for m in model.modules() if hasattr(getattr(m, "attn", None), "attn_drop")]
    seen: list[Tensor] = []
    with ExitStack() as stack:
        for block in blocks:
            stack.enter_context(_watched(block, getattr(model, "num_prefix_tokens", 0), seen))
        model(images)
    return list(seen) if blocks and len(seen) == len(blocks) else None


@contextmanager
def _watched(block: Any, prefix: int, seen: list[Tensor]) -> Iterator[None]:
    """Inside the block's attention is not fused, so that its matrix passes through `attn_drop`."""
    shape: list[torch.Size] = []

    def look(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        received = args[0].mean((1, 2))  # [B (times windows), keys]
        seen.append(received[:, prefix:] if len(shape[-1]) == 3 else _unwindowed(block, received, shape[-1]))

    attn, fused = block.attn, getattr(block.attn, "fused_attn", False)
    handles = [block.register_forward_pre_hook(lambda _, args: shape.append(args[0].shape))]
    handles.append(attn.attn_drop.register_forward_pre_hook(look))
    attn.fused_attn = False
    try:
        yield
    finally:
        attn.fused_attn = fused
        for handle in handles:
            handle.remove()


def _unwindowed(block: Any, received_WN: Tensor, shape_BHWC: torch.Size) -> Tensor:
    """Swin's windows ``[B * windows, h * w]`` back to ``[B, H * W]``, its cyclic shift and padding undone."""
    (h, w), (B, H, W, _) = block.window_size, shape_BHWC
    rows, columns = -(-H // h), -(-W // w)
    grid = received_WN.view(B, rows, columns, h, w).permute(0, 1, 3, 2, 4).reshape(B, rows * h, columns * w)
    return grid[:, :H, :W].roll(tuple(block.shift_size), (1, 2)).reshape(B, H * W)


def recorded(model: nn.Module, images: Tensor) -> Scores | None:
    """The scores that the model records in its trace, where it has any."""
    if not hasattr(model, "trace"):
        return None
    with trace_tokens(model) as trace:
        model(images)
    scores: Scores = list(trace.scores)
    return scores if any(s is not None for s in scores) else None


def state_norm(model: nn.Module, images: Tensor) -> Scores | None:
    """The Euclidean length of each token's state after each layer (each stage, where timm gives no more)."""
    if not hasattr(model, "forward_intermediates"):
        return None
    maps = model.forward_intermediates(images, output_fmt="NCHW", intermediates_only=True)
    return [x_BCHW.float().norm(dim=1).flatten(1) for x_BCHW in maps]
