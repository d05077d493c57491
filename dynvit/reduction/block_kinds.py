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

PARTS: dict[type, tuple[tuple[type, ...], PreNormParts]] = {
    Block: ((Attention,), PreNormParts()),
    ResPostBlock: ((Attention,), PostNormParts()),
    eva.EvaBlock: ((eva.EvaAttention, AttentionRope), EvaParts()),
    eva.EvaBlockPostNorm: ((eva.EvaAttention, AttentionRope), EvaPostNormParts()),
    beit.Block: ((beit.Attention,), BeitParts()),
    cait.LayerScaleBlock: ((cait.TalkingHeadAttn,), CaitParts()),
}
"""By class of the block: the attention that it must have, and its parts."""


def parts_of(block: nn.Module) -> PreNormParts | None:
    """None for a block of another kind."""
    for kind, (attention, parts) in PARTS.items():
        if isinstance(block, kind) and isinstance(getattr(block, "attn", None), attention):
            return parts
    return None


def check_blocks(model: Any) -> None:
    """ValueError unless every block is attention followed by an MLP, with keys to compare."""
    for i, block in enumerate(model.blocks):
        if parts_of(block) is None:
            attn = getattr(block, "attn", None)
            made_of = type(block).__name__ + (f" with {type(attn).__name__}" if attn is not None else "")
            raise ValueError(f"block {i} is a {made_of}; tokens are reduced around the attention of a Block")
