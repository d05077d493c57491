"""timm's conventions for features of layers within: for models that carry all tokens, and for pyramids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn


class TokenIntermediates:
    """Mixin for a ``VisionTransformer`` that has `_features`."""

    _features: Callable[..., Tensor]
    """images -> what `forward_features` returns. A list as second argument is filled with the tokens ``[B, P + N, C]``
    after each block, prefix tokens first."""

    def tokens_in_front(self) -> int:
        """Tokens in front of the patches, inside the blocks."""
        return self.num_prefix_tokens  # type: ignore[attr-defined,no-any-return]

    def forward_features(self, x: Tensor) -> Tensor:
        return self._features(x)

    @torch.jit.ignore
    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, return_prefix_tokens: bool = False,
        norm: bool = False, stop_early: bool = False, output_fmt: str = "NCHW", intermediates_only: bool = False,
        output_dict: bool = False, attn_mask: Tensor | None = None, is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """As timm's; a token that was left out keeps the state that it had, a merged one shows that of its group.

        `stop_early` changes nothing: `prune_intermediate_layers` drops the blocks that are not needed. Raises
        ValueError for a mask or an unknown format.
        """
        check_no_mask(self, attn_mask, is_causal)
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt must be NCHW or NLC, not {output_fmt!r}")
        wanted, _ = feature_take_indices(len(self.blocks), indices)
        states: list[Tensor] = []
        final = self._features(x, states)
        chosen = [self.norm(states[i]) if norm else states[i] for i in wanted]
        first = self.tokens_in_front()
        return_prefix_tokens &= first > 0  # as timm's: without any, tensors and not pairs
        prefixes, patches = [s[:, :first] for s in chosen], [s[:, first:] for s in chosen]
        if output_fmt == "NCHW":
            grid = self.patch_embed.dynamic_feat_size(tuple(x.shape[-2:]))
            patches = [s.unflatten(1, grid).permute(0, 3, 1, 2).contiguous() for s in patches]
        if output_dict:
            shown = {"image_intermediates": patches}
            shown |= {"image_intermediates_prefix": prefixes} if return_prefix_tokens else {}
            return shown if intermediates_only else {**shown, "image_features": final}
        shown = list(zip(patches, prefixes, strict=True)) if return_prefix_tokens else patches
        return shown if intermediates_only else (final, shown)


def check_no_mask(model: Any, attn_mask: Tensor | None, is_causal: bool) -> None:
    if attn_mask is not None or is_causal:
        name = type(model).__name__
        raise ValueError(f"{name} takes no attention mask: which tokens a block sees is the method's own choice")


class PyramidIntermediates:
    """Mixin for a pyramid that has `stages` and `_maps`."""

    _maps: Callable[[Tensor, int], list[Tensor]]
    """images, last stage -> what each stage up to that one returns; of the last, what `forward_head` takes."""

    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Return maps ``[B, C, H, W]`` of the chosen stages, all by default; signature of timm's models."""
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, not {output_fmt}")
        take, deepest = feature_take_indices(self._num_stages(), indices)
        last = self._num_stages() - 1
        maps = self._maps(x, deepest if stop_early or intermediates_only else last)
        final = self._norm_map(maps[-1]) if len(maps) > last else maps[-1]
        chosen = [self._nchw(final if norm and i == last else maps[i], i) for i in take]
        return chosen if intermediates_only else (final, chosen)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the chosen intermediates do not need; return their numbers."""
        take, deepest = feature_take_indices(len(self.stages), indices)
        cut = deepest + 1 < len(self.stages)  # then norm and head, made for the last stage, go too
        self.stages = self.stages[: deepest + 1]
        self.num_features = self.head_hidden_size = self.embed_dim = self.feature_info[deepest]["num_chs"]
        if (prune_norm or cut) and hasattr(self, "norm"):
            self.norm = nn.Identity()
        if prune_head or cut:
            self.reset_classifier(0, "")
        return take

    def _num_stages(self) -> int:
        return len(self.stages)

    def _norm_map(self, final: Tensor) -> Tensor:
        """Normalize the last stage's map, for models that do so before pooling."""
        return final

    def _nchw(self, stage_map: Tensor, stage: int) -> Tensor:
        """The map ``[B, C, H, W]`` of what a stage returns."""
        return stage_map
