"""timm's ``forward_intermediates`` for models that carry all tokens, and for pyramids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.models._features import feature_take_indices
from torch import Tensor


class TokenIntermediates:
    """Mixin for a ``VisionTransformer`` that has `_states`."""

    _states: Callable[[Tensor], tuple[Tensor, list[Tensor]]]
    """images -> final tokens before the norm, and tokens ``[B, P + N, C]`` after each block, prefix tokens first."""

    @torch.jit.ignore
    def forward_intermediates(
        self, x: Tensor, indices: int | list[int] | None = None, return_prefix_tokens: bool = False,
        norm: bool = False, stop_early: bool = False, output_fmt: str = "NCHW", intermediates_only: bool = False,
    ) -> Any:  # fmt: skip
        """As timm's; a token that was left out keeps the state that it had, a merged one shows that of its group."""
        wanted, _ = feature_take_indices(len(self.blocks), indices)
        final, states = self._states(x)
        chosen = [self.norm(states[i]) if norm else states[i] for i in wanted]
        prefix = self.num_prefix_tokens
        patches = [s[:, prefix:] for s in chosen]
        if output_fmt == "NCHW":
            grid = self._grid_size(x)
            patches = [s.unflatten(1, grid).permute(0, 3, 1, 2).contiguous() for s in patches]
        shown = list(zip(patches, [s[:, :prefix] for s in chosen], strict=True)) if return_prefix_tokens else patches
        return shown if intermediates_only else (self.norm(final), shown)

    def _grid_size(self, images: Tensor) -> tuple[int, int]:
        return self.patch_embed.grid_size  # type: ignore[no-any-return]


class PyramidIntermediates:
    """Mixin for a pyramid that has `stages` and `_maps`."""

    _maps: Callable[[Tensor, int], list[Tensor]]
    """images, last stage -> the map after each stage up to that one."""

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
        chosen = [self._nchw(final if norm and i == last else maps[i]) for i in take]
        return chosen if intermediates_only else (final, chosen)

    def _num_stages(self) -> int:
        return len(self.stages)

    def _norm_map(self, final: Tensor) -> Tensor:
        """Normalize the last stage's map, for models that do so before pooling."""
        return final

    def _nchw(self, stage_map: Tensor) -> Tensor:
        return stage_map
