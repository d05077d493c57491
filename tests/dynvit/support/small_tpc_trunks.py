"""TPC-ViT on LV-ViT and on Swin at toy size in float64, with controllers that pause and restart from the start."""

from __future__ import annotations

from typing import Any

import small_baselines
import timm
import torch
from small_tpc_vit import FREQUENT_PAUSING, randomize_weights
from torch import Tensor, nn

import dynvit  # noqa: F401  (registers the models)

# Grids 12 x 12, 6 x 6, 3 x 3; windows of 4, shifted in every second layer; the second grid is no multiple of 4.
SWIN = {
    "img_size": 24, "patch_size": 2, "in_chans": 1, "num_classes": 5, "embed_dim": 16, "depths": (2, 3, 2),
    "num_heads": (2, 4, 4), "window_size": 4,
}  # fmt: skip
LVVIT = {**small_baselines.LVVIT, "depth": 6}
SIZE = {"lvvit": LVVIT, "swin": SWIN}
OURS = {"lvvit": "tpc_lvvit_small", "swin": "tpc_swin_tiny_patch4_window7_224"}
THEIRS = {"lvvit": "lvvit_small", "swin": "swin_tiny_patch4_window7_224"}
LAYERS = {"lvvit": 6, "swin": 7}


def trunk(kind: str, dtype: Any = torch.float64, **options: Any) -> Any:
    """The trunk alone, with weights large enough that every part moves the logits."""
    torch.manual_seed(1)
    plain = {"lvvit": {"w_dense": 0.0, "mix_token": False}, "swin": {"drop_path_rate": 0.0}}  # timm's Swin drops 0.1
    options = {**plain[kind], **options}
    return randomize_weights(timm.create_model(THEIRS[kind], **{**SIZE[kind], **options})).to(dtype).eval()


def small(kind: str, dtype: Any = torch.float64, **options: Any) -> Any:
    torch.manual_seed(1)
    model = randomize_weights(timm.create_model(OURS[kind], **{**SIZE[kind], **FREQUENT_PAUSING, **options}))
    for parameter in model.stabilizer.parameters():
        nn.init.normal_(parameter, std=0.2)
    for controller in controllers(model):
        if controller.restart_shift is not None:
            with torch.no_grad():  # brings back tokens whose state is constant
                controller.restart_shift.copy_(torch.tensor([-1.0, 2.5, -1.0, -1.0, 2.5, 0.0])[: controller.depth])
    return model.to(dtype).eval()


def controllers(model: Any) -> list[Any]:
    if hasattr(model, "controllers"):
        return list(model.controllers or [])
    return [model.controller] if model.controller is not None else []


def images(batch: int = 4, dtype: Any = torch.float64, size: int = 24) -> Tensor:
    return torch.randn(batch, 1, size, size, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(dtype)


def first_layers(kind: str) -> set[int]:
    """Layers in which every token is active, whatever the controllers say."""
    return {0} if kind == "lvvit" else {0, 2, 5}
