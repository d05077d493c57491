"""A TPC-ViT of 6 layers and 36 patches in float64 whose controller pauses and restarts tokens from the start."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import dynvit  # noqa: F401  (registers the models)

SIZE = {
    "img_size": 24, "patch_size": 4, "in_chans": 1, "num_classes": 5, "embed_dim": 32, "depth": 6, "num_heads": 4,
}  # fmt: skip
FREQUENT_PAUSING = {
    "pause_offset": 0.5,
    "restart_offset": -2.5,
    "score_scale": 3.0,
}  # a good part of the tokens is paused


def trunk(dtype: Any = torch.float64) -> nn.Module:
    """timm's DeiT of that size, with weights large enough that every part moves the logits."""
    torch.manual_seed(1)
    return randomize_weights(timm.create_model("deit_tiny_patch16_224", **SIZE)).to(dtype).eval()


def small(dtype: Any = torch.float64, **options: Any) -> Any:
    torch.manual_seed(1)
    model = randomize_weights(timm.create_model("tpc_deit_tiny_patch16_224", **{**SIZE, **FREQUENT_PAUSING, **options}))
    for parameter in model.stabilizer.parameters():
        nn.init.normal_(parameter, std=0.2)
    if model.controller is not None and model.controller.restart_shift is not None:
        with torch.no_grad():  # a paused token's state is constant: in the threshold form these bring it back
            model.controller.restart_shift.copy_(torch.tensor([-1.0, -1.0, 2.5, -1.0, 2.5, 0.0]))
    return model.to(dtype).eval()


def randomize_weights(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        if name.startswith(("stabilizer", "controller")):
            continue
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.2)
    return model


def images(batch: int = 4, dtype: Any = torch.float64) -> Tensor:
    return torch.randn(batch, 1, 24, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)
