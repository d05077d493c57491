"""timm's DeiT as the backbone of token reduction methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from dynvit.interface import DynamicModel
from dynvit.layers.no_dropout import remove_idle_dropout
from dynvit.layers.option_checks import check_heads
from dynvit.layers.position_table import resize_position_table


class DeiT(DynamicModel, VisionTransformer):
    """Base class; the names of parameters are timm's, which the official code of these methods uses too."""

    static_cost = True
    first_conv = "patch_embed.proj"

    def __init__(self, img_size: int | tuple[int, int], embed_dim: int, num_heads: int, **options: Any) -> None:
        check_heads(embed_dim, num_heads)
        super().__init__(img_size=img_size, embed_dim=embed_dim, num_heads=num_heads, **options)
        self.img_size = img_size
        remove_idle_dropout(self)

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official names are timm's."""
        return dict(state_dict)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's DeiT has the same names; a position table of another grid is resampled."""
        return resize_position_table(state_dict, self)
