"""SourceMap: which token each patch of an image went to, layer by layer, for pictures and analysis of merged tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.reduction.grouping import Grouping


class SourceMap:
    """The history of one forward pass, prefix tokens (class ...) first, patches in raster order.

    layers: per block ``int[B, P + N]``, the token after it that each token of the input is in; -1: it vanished.
    sizes: ``[B, n]``, how many tokens of the input each final token represents; None where they are not counted.
    """

    def __init__(self, x_BND: Tensor, prefix: int) -> None:
        self.prefix, self.sizes, self.layers = prefix, None, []
        B, self.tokens = x_BND.shape[:2]
        self.token_of_patch: Tensor = torch.arange(self.tokens, device=x_BND.device).expand(B, -1)
        self.home_BN = self.token_of_patch
        """Input position of each present token: a merged one where its receiver was; `tokens`: nowhere."""

    def grouped(self, grouping: Grouping | None, size_BN: Tensor | None, alive_BN: Tensor | None = None) -> None:
        """Called once per block."""
        if grouping is not None:
            nowhere = F.pad(grouping.token_of(self.home_BN.shape[1]), (0, 1), value=-1)
            self.token_of_patch = nowhere.gather(1, self.token_of_patch % nowhere.shape[1])  # -1 is the last, and stays
            if alive_BN is not None:
                filler_BN = self.token_of_patch.ge(0) & ~alive_BN.gather(1, self.token_of_patch.clamp(min=0))
                self.token_of_patch = self.token_of_patch.masked_fill(filler_BN, -1)
            self.home_BN = F.pad(self.home_BN.gather(1, grouping.kept_BK), (0, grouping.added), value=self.tokens)
            if alive_BN is not None:
                self.home_BN = self.home_BN.masked_fill(~alive_BN, self.tokens)
        self.sizes = size_BN
        self.layers.append(self.token_of_patch)

    def present(self) -> Tensor:
        """Patches whose position holds a token: ``bool[B, N]``, as many as there are tokens."""
        return self.raster(torch.ones_like(self.home_BN, dtype=torch.bool))

    def raster(self, value_BM: Tensor) -> Tensor:
        """Values of the present tokens on the grid, zero elsewhere: ``[B, N]``."""
        empty = value_BM.new_zeros(value_BM.shape[0], self.tokens + 1)
        return empty.scatter(1, self.home_BN, value_BM)[:, self.prefix : -1]

    def spread(self, x_BKD: Tensor, before_BND: Tensor) -> Tensor:
        """The tokens at all positions that they represent, what vanished as it was before: ``[B, P + N, D]``."""
        place_BN1 = self.token_of_patch.unsqueeze(-1)
        now_BND = x_BKD.gather(1, place_BN1.clamp(min=0).expand(-1, -1, x_BKD.shape[2]))
        return torch.where(place_BN1 >= 0, now_BND, before_BND)
