"""SourceMap: which token each patch of an image went to, layer by layer, for pictures and analysis of merged tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from dynvit.models.tome.matching import Pairs


class SourceMap:
    """The history of one forward pass, prefix tokens (class ...) first, patches in raster order.

    layers: per block ``int[B, P + N]``, the token after it that each token of the input is in.
    sizes: ``[B, n]``, how many tokens of the input each final token represents; None before the first merge.
    """

    def __init__(self, x_BND: Tensor, prefix: int) -> None:
        self.prefix, self.sizes, self.layers = prefix, None, []
        self.token_of_patch: Tensor = torch.arange(x_BND.shape[1], device=x_BND.device).expand(x_BND.shape[0], -1)
        self.home_BN = self.token_of_patch
        """Input position of each present token: a merged one where its receiver was."""

    def merged(self, pairs: Pairs | None, size_BN: Tensor | None) -> None:
        """Called once per block."""
        if pairs is not None:
            kept_BK, gone_BR, into_BR = pairs
            place_BK = torch.arange(kept_BK.shape[1], device=kept_BK.device).expand_as(kept_BK)
            new_BN = torch.empty_like(self.home_BN).scatter(1, kept_BK, place_BK).scatter(1, gone_BR, into_BR)
            self.token_of_patch = new_BN.gather(1, self.token_of_patch)
            self.home_BN = self.home_BN.gather(1, kept_BK)
        self.sizes = size_BN
        self.layers.append(self.token_of_patch)

    def present(self) -> Tensor:
        """Patches whose position holds a token: ``bool[B, N]``, as many as there are tokens."""
        flags = torch.zeros_like(self.token_of_patch, dtype=torch.bool).scatter(1, self.home_BN, True)
        return flags[:, self.prefix :]

    def spread(self, x_BKD: Tensor) -> Tensor:
        """The present tokens at all positions that they represent: ``[B, P + N, D]``."""
        return x_BKD.gather(1, self.token_of_patch.unsqueeze(-1).expand(-1, -1, x_BKD.shape[2]))
