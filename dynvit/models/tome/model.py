"""ToMe: similar tokens are merged in every block (arXiv 2210.09461, ICLR 2023): a model, and any timm ViT by `tome`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from dynvit.layers.deit import DeiT
from dynvit.models.tome.merging import MergingMixin, check_blocks
from dynvit.models.tome.schedule import merge_schedule
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tome_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "tome_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "tome_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class ToMe(MergingMixin, DeiT):
    """ToMe on DeiT; names of the backbone as in timm.

    r: tokens that each block merges, a number, a list per block (short lists end with zeros), or a tuple
        ``(r, inflect)``; at most half of the tokens can go at a time.
    inflect: with a number r: -1 merges most in the first blocks and none in the last, 0 evenly, 1 the reverse.
    proportional: in attention a token counts as often as the patches it represents. Best on trained weights off the
        shelf; the authors switch it off in training.
    """

    def __init__(
        self, r: int | Sequence[int] = 13, inflect: float = 0.0, proportional: bool = True, **backbone: Any
    ) -> None:
        super().__init__(**backbone)
        self.prepare(merge_schedule(r, inflect, len(self.blocks)), proportional)


class MergedViT(MergingMixin, VisionTransformer):
    """What `tome` makes of timm's VisionTransformer."""


class MergedDistilledViT(MergingMixin, VisionTransformerDistilled):
    """What `tome` makes of timm's DeiT with a distillation token."""


MERGED: dict[type, type[MergingMixin]] = {VisionTransformer: MergedViT, VisionTransformerDistilled: MergedDistilledViT}


def tome(
    model: VisionTransformer, r: int | Sequence[int] = 8, inflect: float = 0.0, proportional: bool = True
) -> VisionTransformer:
    """The timm VisionTransformer with merging of tokens in every block; options as those of `ToMe`.

    The result is a model of its own over the same weights: training or moving one moves both, but `model` goes on
    without merging. r = 0 is the model itself, bit for bit. Prefix tokens (class, distillation, registers) never
    merge; average pooling weighs tokens by size.
    """
    own = getattr(type(model), "forward_features", None)
    if not isinstance(model, VisionTransformer) or own is not VisionTransformer.forward_features:
        raise ValueError(f"tome takes a timm VisionTransformer, not {type(model).__name__}")
    check_blocks(model)
    schedule = merge_schedule(r, inflect, len(model.blocks))
    kind = type(model)
    merged = copy.copy(model)
    # Own tables of modules, parameters and hooks, so that a new head or a hook on one is not one on the other.
    merged.__dict__ = {
        name: copy.copy(value) if isinstance(value, dict | set) else value for name, value in vars(model).items()
    }
    merged.__class__ = MERGED.get(kind) or type(f"Merged{kind.__name__}", (MergingMixin, kind), {})
    merged.prepare(schedule, proportional)
    return merged


register(ToMe, VARIANTS)
