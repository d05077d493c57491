"""ToMe: similar tokens are merged in every block (arXiv 2210.09461, ICLR 2023): a model, and any timm ViT by `tome`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from dynvit.layers.deit import DeiT
from dynvit.reducers import reduce
from dynvit.reducers.tome import ToMe as Merging
from dynvit.reduction.transformers import ReducingViT
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tome_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "tome_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "tome_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class ToMe(ReducingViT, DeiT):
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
        self.set_reducer(Merging(r, inflect, proportional))


def tome(model: nn.Module, r: int | Sequence[int] = 8, inflect: float = 0.0, proportional: bool = True) -> nn.Module:
    """`dynvit.reduce` with method "tome"; options as those of `ToMe`, prefix tokens never merge, r = 0 is the model
    itself, bit for bit."""
    return reduce(model, "tome", r=r, inflect=inflect, proportional=proportional)


register(ToMe, VARIANTS)
