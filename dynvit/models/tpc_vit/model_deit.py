"""TPC-ViT on DeiT, reconstructed: tokens are paused and restarted by a controller, never deleted.

Paper: arXiv 2401.01470 (no official code). The steps of a layer are in ``dynvit.models.tpc_vit.mixin``.
"""

from __future__ import annotations

from typing import Any

from dynvit.layers.deit import DEIT_III, DeiT
from dynvit.models.tpc_vit.mixin import ViTPropagationMixin
from dynvit.models.tpc_vit.options import DEFAULTS, TPCOptions
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "tpc_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "tpc_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "tpc_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class TPCViT(ViTPropagationMixin, DeiT):
    """DeiT with token propagation controller and stabilizer (reconstructed); names of the backbone as in timm.

    options: ``TPCOptions``, whose fields are the model's options in ``timm.create_model``.
    """

    withheld_options = DEIT_III

    def __init__(self, mlp_ratio: float = 4.0, options: TPCOptions = DEFAULTS, **backbone: Any) -> None:
        super().__init__(mlp_ratio=mlp_ratio, **backbone)
        self._control_blocks(options, mlp_ratio)


register(TPCViT, VARIANTS)
