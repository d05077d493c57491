"""timm's ``forward_intermediates`` from the states ``[B, 1 + N, C]`` after each layer, tokens left out included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.models._features import feature_take_indices
from torch import Tensor


class Intermediates:
    """Mixin for a ``VisionTransformer`` that has `_states(images) -> (final tokens, states)`."""

    _states: Callable[[Tensor], tuple[Tensor, list[Tensor]]]

    @torch.jit.ignore
    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, return_prefix_tokens: bool = False,
        norm: bool = False, stop_early: bool = False, output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> Any:  # fmt: skip
        """As timm's; a token that has been left out keeps the state that it had."""
        wanted, _ = feature_take_indices(len(self.blocks), indices)
        final, states = self._states(x)
        picked = [self.norm(states[i]) if norm else states[i] for i in wanted]
        patches = [s[:, 1:] for s in picked]
        if output_fmt == "NCHW":
            patches = [s.unflatten(1, self.patch_embed.grid_size).permute(0, 3, 1, 2).contiguous() for s in patches]
        shown = list(zip(patches, [s[:, :1] for s in picked], strict=True)) if return_prefix_tokens else patches
        return shown if intermediates_only else (self.norm(final), shown)
