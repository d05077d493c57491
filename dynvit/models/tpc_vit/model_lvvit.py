"""TPC-ViT on LV-ViT, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). The steps of a layer are in ``dynvit.models.tpc_vit.mixin``.
"""

from __future__ import annotations

from typing import Any

from dynvit.models.lv_vit.model import LVTransformer
from dynvit.models.tpc_vit.mixin import ViTPropagationMixin
from dynvit.models.tpc_vit.options import DEFAULTS, TPCOptions
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_lvvit_small": {"embed_dim": 384, "depth": 16, "num_heads": 6},
    "tpc_lvvit_medium": {"embed_dim": 512, "depth": 20, "num_heads": 8},
}


class TPCLVViT(ViTPropagationMixin, LVTransformer):
    """LV-ViT with token propagation controller and stabilizer (reconstructed); names of the backbone as in ``LVViT``.

    Options as in ``TPCViT``. The patch head reads carried tokens too. Training asks for the image's label alone,
    through the evaluation logits, so both heads learn from it; token labels are for training the backbone itself.
    """

    def __init__(self, mlp_ratio: float = 3.0, options: TPCOptions = DEFAULTS, **backbone: Any) -> None:
        super().__init__(mlp_ratio=mlp_ratio, **backbone)
        self._control_blocks(options, mlp_ratio)


register(TPCLVViT, VARIANTS)
