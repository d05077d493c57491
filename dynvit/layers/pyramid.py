"""Maps of a pyramid's stages for timm's ``features_only=True``; a model says how to make them."""

from __future__ import annotations

from timm.models._features import feature_take_indices
from torch import Tensor


class Pyramid:
    """Mixin: needs ``feature_info`` (one entry per stage) and ``_maps(x, last) -> [B, C, H, W] per stage``."""

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of the chosen stages, all by default, never normalised. Signature of timm's models."""
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, not {output_fmt}")
        take, deepest = feature_take_indices(len(self.feature_info), indices)
        last = deepest if stop_early or intermediates_only else len(self.feature_info) - 1
        maps = self._maps(x, last)
        chosen = [maps[i] for i in take]
        return chosen if intermediates_only else (maps[-1], chosen)
