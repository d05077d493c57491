"""Which blocks can be taken apart."""

from __future__ import annotations

from typing import Any

from timm.layers import Attention, AttentionRope
from timm.models import beit, cait, eva
from timm.models.vision_transformer import Block, ResPostBlock
from torch import nn

from dynvit.reduction.block_parts import PostNormParts, PreNormParts
from dynvit.reduction.cait_parts import CaitParts
from dynvit.reduction.eva_parts import BeitParts, EvaParts, EvaPostNormParts

PARTS: dict[type[nn.Module], tuple[tuple[type[nn.Module], ...], PreNormParts]] = {
    Block: ((Attention,), PreNormParts()),
    ResPostBlock: ((Attention,), PostNormParts()),
    eva.EvaBlock: ((eva.EvaAttention, AttentionRope), EvaParts()),
    eva.EvaBlockPostNorm: ((eva.EvaAttention, AttentionRope), EvaPostNormParts()),
    beit.Block: ((beit.Attention,), BeitParts()),
    cait.LayerScaleBlock: ((cait.TalkingHeadAttn,), CaitParts()),
}
"""By class of the block: the attention that it must have, and its parts."""


def parts_of(block: nn.Module) -> PreNormParts | None:
    """None for a block of another kind, or with a forward pass of its own."""
    for kind, (attention, parts) in PARTS.items():
        if _runs_as(block, kind) and any(_runs_as(getattr(block, "attn", None), each) for each in attention):
            return parts
    return None


def _runs_as(module: Any, kind: type[nn.Module]) -> bool:
    return isinstance(module, kind) and type(module).forward is kind.forward and "forward" not in vars(module)


def check_blocks(model: Any) -> None:
    """ValueError unless every block is attention followed by an MLP, with keys to compare."""
    for i, block in enumerate(model.blocks):
        if parts_of(block) is None:
            attn = getattr(block, "attn", None)
            made_of = type(block).__name__ + (f" with {type(attn).__name__}" if attn is not None else "")
            raise ValueError(
                f"block {i} is a {made_of}; tokens are reduced around the attention of a Block with timm's own forward"
            )
