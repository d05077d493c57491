"""The plain model that a method's speed is compared with: its backbone, else the DeiT of its size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The first pattern that matches the whole name; \1 is the size.
RULES: tuple[tuple[str, str], ...] = (
    (r"sret_(?:large_)?tiny(?:_noslice)?", "deit_tiny_patch16_224"),
    (r"sret_small(?:_noslice)?", "deit_small_patch16_224"),
    (r"evo_levit_(\d+s?)(?:_384)?", r"levit_\1"),
    (r"lvvit_(tiny|small)", r"deit_\1_patch16_224"),
    (r"lvvit_medium", "deit_base_patch16_224"),
    (r"\w+_lvvit_(tiny|small|medium)", r"lvvit_\1"),
    (r"\w+_swin_(tiny|small|base)_patch4_window7_224", r"swin_\1_patch4_window7_224"),
    (r"(?:mor_vit|edge_recvit|[a-z]+_deit)_(tiny|small|base)_patch16_\d+", r"deit_\1_patch16_224"),
)
SHARED_OPTIONS = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
"""Options that change the size of a DeiT-like model; its backbone gets the same."""


def trunk_of(model: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the backbone's name and options for a model's name and options; None for a model that is a backbone."""
    name = str(model["name"])
    for pattern, backbone in RULES:
        found = re.fullmatch(pattern, name)
        if found:
            options = {"name": found.expand(backbone)}
            same_size = re.search(r"(mor_vit|edge_recvit|_deit)_", name) is not None
            return options | ({key: model[key] for key in SHARED_OPTIONS if key in model} if same_size else {})
    return None
