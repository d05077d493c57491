"""The plain model that a method's speed is compared with: the trunk it is built on, else DeiT of its size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The first pattern that fits the whole name; \1 is the size.
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
OF_DEIT = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
"""Options that make a small model of a DeiT; its trunk then is as small."""


def trunk_of(model: Mapping[str, Any]) -> dict[str, Any] | None:
    """The trunk's name and options, for a model's name and options; None for a model that is a trunk itself."""
    name = str(model["name"])
    for pattern, trunk in RULES:
        found = re.fullmatch(pattern, name)
        if found:
            told = {"name": found.expand(trunk)}
            alike = re.search(r"(mor_vit|edge_recvit|_deit)_", name) is not None
            return told | ({key: model[key] for key in OF_DEIT if key in model} if alike else {})
    return None
