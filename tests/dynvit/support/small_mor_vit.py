"""A MoR-ViT of 8 layers and 36 patches in float64, with weights large enough that every part moves the logits."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

SIZE = {
    "img_size": 24, "patch_size": 4, "in_chans": 1, "num_classes": 5, "embed_dim": 32, "depth": 8, "num_heads": 4,
}  # fmt: skip
RECURSION = {"none": 3, "cycle": 4, "sequence": 4, "middle_cycle": 3, "middle_sequence": 3}  # two layers shared each


def small(sharing: str = "middle_cycle", recursion: int | None = None, dtype: Any = torch.float64, **options: Any):
    torch.manual_seed(1)
    options = {**SIZE, "sharing": sharing, "recursion": recursion or RECURSION[sharing], **options}
    model = timm.create_model("mor_vit_tiny_patch16_224", **options)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model.to(dtype).eval()


def images(batch: int = 4, dtype: Any = torch.float64) -> Tensor:
    return torch.randn(batch, 1, 24, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


class FixedDepth(nn.Module):
    """Replaces a depth router's net: always chooses depth_BM, 1-based."""

    def __init__(self, depth_BM: Tensor, depths: int) -> None:
        super().__init__()
        self.logits_BMD = 1e3 * nn.functional.one_hot(depth_BM - 1, depths).double()

    def forward(self, x_BMC: Tensor) -> Tensor:
        return self.logits_BMD.to(x_BMC.dtype)
