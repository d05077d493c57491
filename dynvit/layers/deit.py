"""timm's DeiT as the backbone of token reduction methods."""

from __future__ import annotations

from collections.abc import Mapping

from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from dynvit.checkpoint.pos_embed import resize_position_table
from dynvit.config.option_checks import check_heads, check_positive
from dynvit.interface import DynamicModel
from dynvit.layers.no_dropout import remove_idle_dropout

DEIT_III = ("qk_norm", "init_values", "no_embed_class")
"""Options of `DeiT` that methods without a DeiT-III form withhold."""


class DeiT(DynamicModel, VisionTransformer):
    """Base class; the names of parameters are timm's, which the official code of these methods uses too.

    qk_norm, init_values, no_embed_class: of DeiT-III: norms of queries and keys, LayerScale, positions of patches only.
    """

    static_cost = True
    first_conv = "patch_embed.proj"
    block_fn: type[nn.Module] = Block

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        qk_norm: bool = False,
        init_values: float | None = None,
        no_embed_class: bool = False,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_positive(depth=depth)
        check_heads(embed_dim, num_heads)
        super().__init__(
            img_size=img_size, patch_size=patch_size, in_chans=in_chans, num_classes=num_classes, embed_dim=embed_dim,
            depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, qk_norm=qk_norm, init_values=init_values,
            no_embed_class=no_embed_class, drop_rate=drop_rate, drop_path_rate=drop_path_rate, block_fn=self.block_fn,
        )  # fmt: skip
        remove_idle_dropout(self)

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official names are timm's."""
        return dict(state_dict)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's DeiT has the same names; a position table of another grid is resampled."""
        return resize_position_table(state_dict, self)
