"""Every family of models at toy size, on images that are not square, with weights that make every decision count."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import dynvit  # noqa: F401  (registers the models)

SIZE, LARGER = (32, 48), (48, 64)
DEIT = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
LVVIT = {"stem_strides": (2, 1, 1, 4), "stem_width": 8, "embed_dim": 32, "depth": 4, "num_heads": 2}
MOR = {**DEIT, "depth": 6, "recursion": 2}  # two layers a unit
TPC = {"pause_offset": 0.5, "restart_offset": -2.5, "score_scale": 3.0, "smoothing": "none"}  # pauses often
SWIN = {"patch_size": 4, "window_size": 4, "embed_dim": 16, "depths": (2, 2, 2), "num_heads": (2, 2, 2)}
SRET = {"base_dim": 8, "heads": (1, 2, 4), "unique": (1, 2, 1), "stem_strides": (2, 2, 1)}
LEVIT = {
    "stem_strides": (2, 2, 1, 1), "embed_dim": (16, 24, 32), "key_dim": 8, "num_heads": (2, 2, 2), "depth": (4, 2, 2),
}  # fmt: skip

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "sret": ("sret_tiny", SRET),
    "evo_deit": ("evo_deit_tiny_patch16_224", {**DEIT, "depth": 6, "prune_from": 1}),
    "evo_deit_mean": ("evo_deit_tiny_patch16_224", {**DEIT, "prune_from": 1, "representative": "mean"}),
    "evo_deit_random": ("evo_deit_tiny_patch16_224", {**DEIT, "prune_from": 1, "ranking": "random"}),
    "evo_levit": ("evo_levit_128s", LEVIT),
    "mor_token": ("mor_vit_tiny_patch16_224", MOR),
    "mor_expert": ("mor_vit_tiny_patch16_224", {**MOR, "routing": "expert"}),
    "mor_random": ("mor_vit_tiny_patch16_224", {**MOR, "routing": "random"}),
    "mor_off": ("mor_vit_tiny_patch16_224", {**DEIT, "routing": "off", "sharing": "none"}),
    "edge_recvit": ("edge_recvit_tiny_patch16_224", MOR),
    "tpc_deit": ("tpc_deit_tiny_patch16_224", {**DEIT, **TPC}),
    "tpc_deit_rate": ("tpc_deit_tiny_patch16_224", {**DEIT, **TPC, "keep_rate": 0.5, "score": "cls_attention"}),
    "tpc_deit_random": ("tpc_deit_tiny_patch16_224", {**DEIT, **TPC, "pause": "random"}),
    "tpc_lvvit": ("tpc_lvvit_small", {**LVVIT, **TPC}),
    "tpc_swin": ("tpc_swin_tiny_patch4_window7_224", {**SWIN, **TPC}),
    "tpc_swin_rate": (
        "tpc_swin_tiny_patch4_window7_224", {**SWIN, **TPC, "keep_rate": 0.5, "pause": "attention"},
    ),
    "dynamicvit_deit": ("dynamicvit_deit_tiny_patch16_224", DEIT),
    "dynamicvit_lvvit": ("dynamicvit_lvvit_small", LVVIT),
    "evit": ("evit_deit_tiny_patch16_224", {**DEIT, "locations": (1, 2)}),
    "tome": ("tome_deit_tiny_patch16_224", {**DEIT, "r": 3}),
    "avit": ("avit_deit_tiny_patch16_224", {**DEIT, "gate_center": 3.0}),
    "lvvit": ("lvvit_tiny", LVVIT),
}  # fmt: skip
PYRAMIDS = {"sret": (8, 16, 32), "evo_levit": (16, 24, 32), "tpc_swin": (16, 32, 64), "tpc_swin_rate": (16, 32, 64)}
"""Channels of each stage."""
VITS = [family for family in FAMILIES if family not in PYRAMIDS]


def build(family: str, **changes: Any) -> Any:
    """The family's model in evaluation mode, with 5 classes."""
    name, options = FAMILIES[family]
    torch.manual_seed(0)
    model = timm.create_model(name, **{"img_size": SIZE, "num_classes": 5, **options, **changes})
    return randomize(model).eval()


def randomize(model: nn.Module) -> nn.Module:
    """Weights of unit gain, so that tokens differ and every part moves the logits."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "pos_embed" not in name:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        elif "shift" in name:
            nn.init.normal_(parameter, std=1.0)
        elif name.endswith(("bias", "pos_embed")):
            nn.init.normal_(parameter, std=0.2)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return model


def images(batch: int = 2, size: tuple[int, int] = SIZE, channels: int = 3) -> Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(2))


def leaves_out(family: str) -> bool:
    """Whether some tokens are inactive in some layer."""
    return family not in ("sret", "mor_off", "lvvit")
