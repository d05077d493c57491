"""Evo-ViT on DeiT and on LeViT: with a parity fixture's weights, and at toy size in float64."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import dynvit

NAMES = {"deit": "evo_deit_tiny_patch16_224", "levit": "evo_levit_128s"}
SIZE: dict[str, dict[str, Any]] = {
    "deit": {"img_size": 32, "patch_size": 4, "embed_dim": 48, "num_heads": 3},
    "levit": {
        "img_size": 64, "embed_dim": (32, 48, 64), "key_dim": 8, "num_heads": (2, 3, 4), "depth": (4, 3, 4),
        "stem_strides": (2, 2, 2, 1),
    },
}  # fmt: skip


def official(fixture: Any) -> Any:
    """The model of a fixture with the official weights."""
    kind, facts = fixture.name.split("_")[1], fixture.facts["constructor"]
    same = ("embed_dim", "key_dim", "num_heads", "depth", "num_classes")
    model = timm.create_model(
        NAMES[kind],
        img_size=facts["image_size"],
        keep_ratio=facts["keep_ratio_per_block"] if kind == "deit" else facts["keep_ratio"],
        selection=fixture.name.split("_")[-1],
        **{key: facts[key] for key in same if key in facts},
    )
    return dynvit.load_official(model.double(), fixture.state_dict())


def mini(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(NAMES[kind], **{**SIZE[kind], "num_classes": 10, **options}).double()
    for module in model.modules():  # fresh layers start with zero gain and statistics 0 and 1: nothing would move
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def images(kind: str, batch: int = 3) -> Tensor:
    size = SIZE[kind]["img_size"]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size, size, dtype=torch.float64, generator=generator)
