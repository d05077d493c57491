"""New classifiers for models that have several, and the poolings that a model's head can do."""

from __future__ import annotations

from timm.layers import trunc_normal_
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def reset_heads(model: VisionTransformer, names: tuple[str, ...]) -> None:
    """Replace the linear classifiers of these names by new ones for the model's classes, by identities without any."""
    for name in names:
        head: nn.Module = nn.Identity()
        if model.num_classes:
            head = nn.Linear(model.embed_dim, model.num_classes)
            trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
        setattr(model, name, head.to(model.pos_embed).train(model.training))


def check_pool(model: nn.Module, global_pool: str | None, own: str) -> None:
    """Raise ValueError for a pooling other than the model's own and ``""`` (none)."""
    if global_pool not in (None, own, ""):
        raise ValueError(
            f"{type(model).__name__} classifies as its paper says: global_pool must be {own!r} or '' (none), "
            f"not {global_pool!r}"
        )
