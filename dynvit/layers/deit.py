"""timm's DeiT as the trunk of token reduction methods: what all of them add to it, and no idle operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dynvit.tokens import TokenTrace


class DeiT(VisionTransformer):
    """Base class; the names of parameters are timm's, which the official code of these methods uses too."""

    static_cost = True

    def __init__(self, img_size: int | tuple[int, int], embed_dim: int, num_heads: int, **options: Any) -> None:
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}")
        super().__init__(img_size=img_size, embed_dim=embed_dim, num_heads=num_heads, **options)
        self.img_size, self.first_conv = img_size, "patch_embed.proj"
        self.trace: TokenTrace | None = None
        self.execution = "gathered"
        remove_idle_dropout(self)

    def set_execution(self, execution: Literal["gathered", "masked"]) -> None:
        """Set "gathered", which really removes tokens, or "masked", which keeps dense shapes: the same numbers."""
        if execution not in ("gathered", "masked"):
            raise ValueError(f'execution is "gathered" or "masked", not {execution!r}')
        self.execution = execution

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The official names are timm's."""
        return dict(state_dict)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm DeiT -> ours: the names are equal; a position table of another grid is resampled."""
        own, prefix = dict(state_dict), 0 if self.no_embed_class else self.num_prefix_tokens
        if "pos_embed" in own and own["pos_embed"].shape[1] != self.pos_embed.shape[1]:
            own["pos_embed"] = resample_abs_pos_embed(
                own["pos_embed"], self.patch_embed.grid_size, num_prefix_tokens=prefix
            )
        return own


def remove_idle_dropout(module: nn.Module) -> None:
    """Replace dropout of rate 0 by nothing: each is an operator in every trace and call, about 3 per block.

    An attention's own dropout stays: it is never called, its rate is read.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.Dropout) and child.p == 0 and name != "attn_drop":
            setattr(module, name, nn.Identity())
        else:
            remove_idle_dropout(child)
