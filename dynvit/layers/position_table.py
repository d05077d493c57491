"""Resampling of a checkpoint's position table to a model's grid."""

from __future__ import annotations

from collections.abc import Mapping

from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor


def resize_position_table(state_dict: Mapping[str, Tensor], model: VisionTransformer) -> dict[str, Tensor]:
    """Return a copy of the state dict whose ``pos_embed`` ``[1, T, C]`` fits the model's grid (timm's bicubic)."""
    resized, prefix = dict(state_dict), 0 if model.no_embed_class else model.num_prefix_tokens
    table = resized.get("pos_embed")
    if table is not None and table.shape[1] != model.pos_embed.shape[1]:
        grid = model.patch_embed.grid_size
        resized["pos_embed"] = resample_abs_pos_embed(table, grid, num_prefix_tokens=prefix)
    return resized
