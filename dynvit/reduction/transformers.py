"""Reducing for the kinds of transformers: where their tokens come from and how they become logits."""

from __future__ import annotations

from functools import cache
from typing import Any

from timm.layers import AttentionPoolLatent
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dynvit.checkpoint.pos_embed import resize_position_table
from dynvit.reduction.forward import Reducing
from dynvit.reduction.stream import Stream


class ReducingViT(Reducing):
    """For timm's VisionTransformer and what inherits its `forward_features`."""

    def convert_trunk(self, state_dict: Any) -> dict[str, Tensor]:
        return resize_position_table(state_dict, self)  # type: ignore[arg-type]

    def embed(self, images: Tensor) -> Tensor:
        return self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(images))))  # type: ignore[attr-defined,no-any-return]

    def forward_head(self, x: Tensor, pre_logits: bool = False, size_BN: Tensor | None = None) -> Any:
        """With sizes, pooling over tokens becomes pooling over the patches that they represent."""
        if size_BN is None or self.global_pool in ("token", "max", ""):  # type: ignore[attr-defined]
            return super().forward_head(x, pre_logits)  # type: ignore[misc]
        y = self.head_drop(self.fc_norm(self._pool_by_size(x, size_BN)))  # type: ignore[attr-defined]
        return y if pre_logits else self.head(y)  # type: ignore[attr-defined]

    def _pool_by_size(self, x_BND: Tensor, size_BN: Tensor) -> Tensor:
        first = 0 if self.pool_include_prefix else self.num_prefix_tokens  # type: ignore[attr-defined]
        if isinstance(self.attn_pool, AttentionPoolLatent):  # type: ignore[attr-defined]
            size_BN, x_BND = size_BN[:, first:], x_BND[:, first:]
            alive_BN = None if self.reducer.static else size_BN > 0
            bias = self.attention_bias(Stream(x_BND, size_BN, alive_BN=alive_BN))
            return self.attn_pool(x_BND, attn_mask=bias)  # type: ignore[attr-defined,no-any-return]
        if self.attn_pool is not None:  # type: ignore[attr-defined]
            return self.pool(x_BND)  # type: ignore[attr-defined,no-any-return]
        mean_BD = weighted_mean(x_BND[:, first:], size_BN[:, first:])
        return mean_BD if self.global_pool == "avg" else 0.5 * (x_BND[:, first:].amax(1) + mean_BD)  # type: ignore[attr-defined]


def weighted_mean(x_BND: Tensor, weight_BN: Tensor) -> Tensor:
    """Mean over tokens: ``[B, D]``."""
    weight_BN1 = (weight_BN / weight_BN.sum(1, keepdim=True)).to(x_BND.dtype).unsqueeze(-1)
    return (x_BND * weight_BN1).sum(1)


MIXINS: dict[type, type[Reducing]] = {VisionTransformer: ReducingViT}
"""By class of timm's: what makes a model of it, or of a class that inherits its `forward_features`, reduce."""


def mixin_for(model: nn.Module) -> type[Reducing] | None:
    """None for a model that cannot be reduced."""
    own = getattr(type(model), "forward_features", None)
    for kind, mixin in MIXINS.items():
        if isinstance(model, kind) and own is kind.forward_features:  # type: ignore[attr-defined]
            return mixin
    return None


@cache
def reduced_class(mixin: type[Reducing], kind: type) -> type[Reducing]:
    """The class of a reduced model of a kind; one of the user's own pickles too, as it is made anew when read."""
    return type(f"Reduced{kind.__name__}", (mixin, kind), {"__reduce__": _pickled, "__module__": __name__})


def _pickled(self: Reducing) -> tuple[Any, ...]:
    mixin, kind = type(self).__bases__
    return _blank, (mixin, kind), self.__dict__


def _blank(mixin: type[Reducing], kind: type) -> Reducing:
    cls = reduced_class(mixin, kind)
    return cls.__new__(cls)
