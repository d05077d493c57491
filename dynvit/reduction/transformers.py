"""Reducing for the kinds of transformers: where their tokens come from and how they become logits."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import Any

import torch
from timm.layers import AttentionPoolLatent
from timm.models.beit import Beit
from timm.models.cait import Cait
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dynvit.checkpoint.pos_embed import resize_position_table
from dynvit.reduction.block_parts import Where
from dynvit.reduction.cait_parts import attend_classes
from dynvit.reduction.forward import Reducing
from dynvit.reduction.stream import Stream


class ReducingViT(Reducing):
    """For timm's VisionTransformer and what inherits its `forward_features`."""

    def convert_trunk(self, state_dict: Any) -> dict[str, Tensor]:
        return resize_position_table(state_dict, self)  # type: ignore[arg-type]

    def enter(self, images: Tensor) -> Stream:
        return Stream(self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(images)))))  # type: ignore[attr-defined]

    def check_reducer(self) -> None:
        super().check_reducer()
        if self.pools_by_size() and _has_own_head(type(self).__bases__[1]):
            model = type(self).__name__.removeprefix("Reduced")
            raise ValueError(f"{self.reducer.name} pools tokens by size; the forward_head of {model} is not timm's")
        if self.pools_by_size():
            self._check_pool()

    def _check_pool(self) -> None:
        """ValueError for a pool that is learnt and does not take sizes."""
        pool: Any = self.attn_pool  # type: ignore[attr-defined]
        if pool is not None and not isinstance(pool, AttentionPoolLatent):
            raise ValueError(
                f"{self.reducer.name} pools tokens by size, and {type(pool).__name__} would count each once: take a "
                "model with another global_pool, as avg or map"
            )

    def pools_by_size(self) -> bool:
        return self._pools_tokens() and (self.reducer.counts_sizes or not self.reducer.static)

    def _pools_tokens(self) -> bool:
        return self.global_pool not in ("token", "max", "")  # type: ignore[attr-defined]

    def forward_head(self, x: Tensor, pre_logits: bool = False, size_BN: Tensor | None = None) -> Any:
        """With sizes, pooling over tokens becomes pooling over the patches that they represent.

        size_BN: not needed for what `forward_features` returned; a warning where sizes count and are not known.
        """
        if size_BN is None and self.pools_by_size():
            if not hasattr(x, "size_BN"):
                warnings.warn(
                    f"{self.reducer.name} pools tokens by size, and these tokens count once each: give forward_head "
                    "the tensor that forward_features returned, or size_BN",
                    stacklevel=2,
                )
            size_BN = getattr(x, "size_BN", None)
        return self.head_of(x, size_BN, pre_logits)

    def head_of(self, x_BND: Tensor, size_BN: Tensor | None, pre_logits: bool = False) -> Any:
        if size_BN is None or not self._pools_tokens():
            return super().forward_head(x_BND, pre_logits)  # type: ignore[misc]
        y = self.head_drop(self._pool_by_size(x_BND, size_BN))  # type: ignore[attr-defined]
        return y if pre_logits else self.head(y)  # type: ignore[attr-defined]

    def _pool_by_size(self, x_BND: Tensor, size_BN: Tensor) -> Tensor:
        self._check_pool()
        first = self._pooled_from()
        x_BND, size_BN = x_BND[:, first:], size_BN[:, first:]
        if isinstance(self.attn_pool, AttentionPoolLatent):  # type: ignore[attr-defined]
            alive_BN = None if self.reducer.static else size_BN > 0
            y_BD = self.attn_pool(x_BND, attn_mask=self.attention_bias(Stream(x_BND, size_BN, alive_BN=alive_BN)))  # type: ignore[attr-defined]
        else:
            y_BD = weighted_mean(x_BND, size_BN)
            y_BD = y_BD if self.global_pool == "avg" else 0.5 * (x_BND.amax(1) + y_BD)  # type: ignore[attr-defined]
        return self.fc_norm(y_BD)  # type: ignore[attr-defined,no-any-return]

    def _pooled_from(self) -> int:
        """The first token that pooling over tokens counts."""
        return 0 if self.pool_include_prefix else self.num_prefix_tokens  # type: ignore[attr-defined]


class ReducingEva(ReducingViT):
    """For timm's Eva: EVA, EVA-02, DINOv3, Perception Encoder."""

    def enter(self, images: Tensor) -> Stream:
        x_BND, rope = self._pos_embed(self.patch_embed(images))  # type: ignore[attr-defined]
        home_N = None if rope is None else torch.arange(x_BND.shape[1], device=x_BND.device)
        return Stream(self.norm_pre(x_BND), home_BN=home_N, positional=rope)  # type: ignore[attr-defined]

    def set_input_size(self, *args: Any, **options: Any) -> None:
        if self.rope is not None:  # the given model's stays as it is; until now moving one had to move both
            self.rope = sharing(self.rope)
        super().set_input_size(*args, **options)  # type: ignore[misc]

    def knows_positions(self) -> bool:
        return self.rope is not None

    def positions(self, stream: Stream, block: int) -> Where:
        where = super().positions(stream, block)
        if self.rope_mixed and where.positional is not None:  # type: ignore[attr-defined]
            return where._replace(positional=where.positional[block])  # other ones in each block
        return where

    def _pooled_from(self) -> int:
        return 0 if self.attn_pool is not None else self.num_prefix_tokens  # type: ignore[attr-defined]


class ReducingBeit(ReducingViT):
    """For timm's Beit."""

    attn_pool = None

    def enter(self, images: Tensor) -> Stream:
        x_BND = self.patch_embed(images)  # type: ignore[attr-defined]
        x_BND = torch.cat([self.cls_token.expand(x_BND.shape[0], -1, -1), x_BND], 1)  # type: ignore[attr-defined]
        x_BND = self.pos_drop(x_BND if self.pos_embed is None else x_BND + self.pos_embed)  # type: ignore[attr-defined]
        if not self.knows_positions():
            return Stream(x_BND)
        shared_HNN = None if self.rel_pos_bias is None else self.rel_pos_bias()  # type: ignore[attr-defined]
        return Stream(x_BND, home_BN=torch.arange(x_BND.shape[1], device=x_BND.device), positional=shared_HNN)

    def knows_positions(self) -> bool:
        own = any(block.attn.relative_position_bias_table is not None for block in self.blocks)  # type: ignore[attr-defined]
        return own or self.rel_pos_bias is not None  # type: ignore[attr-defined]

    def _pooled_from(self) -> int:
        return self.num_prefix_tokens


class ReducingCait(ReducingViT):
    """For timm's Cait, whose class token comes after the blocks."""

    attn_pool = None

    def tokens_in_front(self) -> int:
        return 0

    def enter(self, images: Tensor) -> Stream:
        return Stream(self.pos_drop(self.patch_embed(images) + self.pos_embed))  # type: ignore[attr-defined]

    def finish(self, stream: Stream) -> Tensor:
        if self.blocks_token_only is None:  # type: ignore[attr-defined]
            return super().finish(stream)
        return self.norm(attend_classes(self, stream.x_BND, self.attention_bias(stream)))  # type: ignore[attr-defined,no-any-return]

    def _pool_by_size(self, x_BND: Tensor, size_BN: Tensor) -> Tensor:
        return weighted_mean(x_BND[:, self.num_prefix_tokens :], size_BN)


def weighted_mean(x_BND: Tensor, weight_BN: Tensor) -> Tensor:
    """Mean over tokens: ``[B, D]``."""
    weight_BN1 = (weight_BN / weight_BN.sum(1, keepdim=True)).to(x_BND.dtype).unsqueeze(-1)
    return (x_BND * weight_BN1).sum(1)


MIXINS: dict[type, type[Reducing]] = {
    VisionTransformer: ReducingViT, Eva: ReducingEva, Beit: ReducingBeit, Cait: ReducingCait
}  # fmt: skip
"""By class of timm's: what makes a model of it, or of a class that inherits its `forward_features`, reduce."""


def _has_own_head(kind: type) -> bool:
    timms = next(each for each in MIXINS if issubclass(kind, each))
    return any(getattr(kind, name, None) is not getattr(timms, name, None) for name in ("forward_head", "pool"))


def mixin_for(model: nn.Module) -> type[Reducing] | None:
    """None for a model that cannot be reduced: of another kind, or with a forward pass of its own."""
    for kind, mixin in MIXINS.items():
        if isinstance(model, kind) and all(
            getattr(type(model), name) is getattr(kind, name) and name not in vars(model)
            for name in ("forward", "forward_features")
        ):
            return mixin
    return None


def sharing(module: nn.Module) -> nn.Module:
    """A module over the same weights, with own tables of modules, parameters and hooks, so that a new head or a hook
    on one is not one on the other; not compiled, as what was compiled calls the given module."""
    other = copy.copy(module)
    other.__dict__ = {
        name: copy.copy(value) if isinstance(value, dict | set) else value for name, value in vars(other).items()
    }
    return other


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
