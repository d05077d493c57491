"""Removal of dropout layers of rate 0: one operator less per layer, for small batches and shorter graphs."""

from __future__ import annotations

from torch import nn


def remove_idle_dropout(model: nn.Module) -> None:
    """Replace dropout of rate 0 by the identity; an attention's own stays, since timm's code reads its rate."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout) and not child.p and name != "attn_drop":
                setattr(parent, name, nn.Identity())
