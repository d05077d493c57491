"""Baselines and their trunks at toy size in float64, with weights large enough that every part moves the logits."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import dynvit  # noqa: F401  (registers the models)

DEIT = {
    "img_size": 24, "patch_size": 4, "in_chans": 1, "num_classes": 5, "embed_dim": 32, "depth": 8, "num_heads": 4,
}  # fmt: skip
LVVIT = {
    "img_size": 24, "stem_strides": (2, 1, 1, 2), "stem_width": 8, "in_chans": 1, "num_classes": 5, "embed_dim": 32,
    "depth": 8, "num_heads": 4,
}  # fmt: skip
DEIT3 = {"init_values": 0.3, "no_embed_class": True}
QK_NORM = {"qk_norm": True}


def small(name: str, dtype: Any = torch.float64, seed: int = 1, **options: Any) -> Any:
    """The model `name` at toy size, in evaluation mode."""
    torch.manual_seed(seed)
    model = timm.create_model(name, **((LVVIT if "lvvit" in name else DEIT) | options))
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif key.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return model.to(dtype).eval()


def images(batch: int = 4, dtype: Any = torch.float64) -> Tensor:
    return torch.randn(batch, 1, 24, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
