"""TPC-ViT on DeiT, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). The steps of a layer are in ``dynvit.models.tpc_vit.mixin``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from dynvit.layers.option_checks import check_heads
from dynvit.layers.position_table import resize_position_table
from dynvit.models.tpc_vit.controller import ControllerOptions
from dynvit.models.tpc_vit.loss import Weights
from dynvit.models.tpc_vit.mixin import ViTPropagationMixin
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "tpc_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "tpc_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class TPCViT(ViTPropagationMixin, VisionTransformer):
    """DeiT with token propagation controller and stabilizer (reconstructed); names of the backbone as in timm.

    pause: True, False (dense, stabilizer only), "random" or "attention" (the lowest class attention), these two at
    the rate that the controller gives. restart: False means r = 0. keep_rate: None, or the share of patch tokens
    that every layer after the first keeps. The further options are those of ``ControllerOptions`` and the loss weights.
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
        pause: bool | Literal["random", "attention"] = True,
        restart: bool = True,
        smoothing: Literal["none", "spatial", "prior", "both"] = "both",
        stabilizer: Literal["off", "dw_pre", "dw_mlp", "peg_once"] = "dw_pre",
        keep_rate: float | None = None,
        score: Literal["channel", "linear", "cls_attention"] = "channel",
        score_scale: float = 1.0,
        pause_offset: float = -3.0,
        restart_offset: float = 0.0,
        threshold: float = 0.5,
        terminate: bool = False,
        eps: float = 0.01,
        smooth_strength: float = 0.5,
        smooth_sigma: float = 1.0,
        depth_ema: float = 0.0,
        ponder_weight: float = 5e-4,
        prior_weight: float = 1e-3,
        budget_weight: float = 2.0,
        distill_weight: float = 0.0,
    ) -> None:
        rules = ControllerOptions(
            pause, restart, smoothing, keep_rate, score, score_scale, pause_offset, restart_offset, threshold,
            terminate, eps, smooth_strength, smooth_sigma, depth_ema,
        )  # fmt: skip
        check_heads(embed_dim, num_heads)
        super().__init__(
            img_size=img_size, patch_size=patch_size, in_chans=in_chans, num_classes=num_classes, embed_dim=embed_dim,
            depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_rate=drop_rate, drop_path_rate=drop_path_rate,
        )  # fmt: skip
        self.img_size = img_size
        weights = Weights(ponder_weight, prior_weight, budget_weight, distill_weight)
        self._control_blocks(rules, weights, stabilizer, mlp_ratio)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm DeiT -> ours: the names are equal; a position table of another grid is resampled."""
        return resize_position_table(state_dict, self)


register(TPCViT, VARIANTS)
