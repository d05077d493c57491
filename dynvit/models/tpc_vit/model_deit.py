"""TPC-ViT on DeiT, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). The steps of a layer are in ``dynvit.models.tpc_vit.mixin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from dynvit.layers.option_checks import check_heads
from dynvit.layers.position_table import resize_position_table
from dynvit.models.tpc_vit.mixin import ViTPropagationMixin
from dynvit.models.tpc_vit.options import DEFAULTS, TPCOptions
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "tpc_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "tpc_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class TPCViT(ViTPropagationMixin, VisionTransformer):
    """DeiT with token propagation controller and stabilizer (reconstructed); names of the backbone as in timm.

    options: ``TPCOptions``, whose fields are the model's options in ``timm.create_model``.
    """

    first_conv = "patch_embed.proj"

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
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        options: TPCOptions = DEFAULTS,
    ) -> None:
        check_heads(embed_dim, num_heads)
        super().__init__(
            img_size=img_size, patch_size=patch_size, in_chans=in_chans, num_classes=num_classes, embed_dim=embed_dim,
            depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_rate=drop_rate, drop_path_rate=drop_path_rate,
        )  # fmt: skip
        self.img_size = img_size
        self._control_blocks(options, mlp_ratio)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm DeiT -> ours: the names are equal; a position table of another grid is resampled."""
        return resize_position_table(state_dict, self)


register(TPCViT, VARIANTS)
