"""TPC-ViT on LV-ViT, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). The steps of a layer are in ``dynvit.models.tpc_vit.mixin``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynvit.models.lv_vit.model import LVViT
from dynvit.models.tpc_vit.mixin import ViTPropagationMixin
from dynvit.models.tpc_vit.options import DEFAULTS, TPCOptions
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_lvvit_small": {"embed_dim": 384, "depth": 16, "num_heads": 6},
    "tpc_lvvit_medium": {"embed_dim": 512, "depth": 20, "num_heads": 8},
}


class TPCLVViT(ViTPropagationMixin, LVViT):
    """LV-ViT with token propagation controller and stabilizer (reconstructed); names of the backbone as in ``LVViT``.

    Options as in ``TPCViT``. The patch head reads carried tokens too. Training asks for the image's label alone,
    through the evaluation logits, so both heads learn from it; token labels are for training the backbone itself.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 384,
        depth: int = 16,
        num_heads: int = 6,
        mlp_ratio: float = 3.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        stem_width: int = 64,
        stem_strides: Sequence[int] = (2, 1, 1, 8),
        skip_lam: float = 2.0,
        options: TPCOptions = DEFAULTS,
    ) -> None:
        super().__init__(
            img_size, in_chans, num_classes, embed_dim, depth, num_heads, mlp_ratio, drop_rate, drop_path_rate,
            stem_width, stem_strides, skip_lam, w_dense=0.0, mix_token=False,
        )  # fmt: skip
        self._control_blocks(options, mlp_ratio)


register(TPCLVViT, VARIANTS)
