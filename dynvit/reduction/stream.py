"""Stream: the tokens on their way through the blocks, and what is known of each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dynvit.reduction.grouping import Grouping, ones


class Stream(NamedTuple):
    """x_BND: tokens, prefix tokens first. size_BN: how many patches each represents; None: 1 each, or not counted.

    home_BN: the position in the input whose place each token has; only kept for backbones whose attention knows
    positions, and ``[N]`` as long as all are there.
    positional: what it knows of them, rotary embeddings or a bias by pairs, for all positions.
    alive_BN: False for a token that only fills up an image that has fewer than others; None: all are real.
    carry: what a method took from one block for the next.
    """

    x_BND: Tensor
    size_BN: Tensor | None = None
    home_BN: Tensor | None = None
    alive_BN: Tensor | None = None
    carry: Tensor | None = None
    positional: Tensor | None = None

    def log_sizes(self) -> Tensor | None:
        """log(size), added to the logits of each key: float and key only, so that attention stays fused."""
        if self.size_BN is None:
            return None
        return self.size_BN.log().to(self.x_BND.dtype).unsqueeze(1).unsqueeze(1)

    def weights(self) -> Tensor | None:
        """How much each token counts in a mean over tokens; None: all the same."""
        if self.alive_BN is None:
            return self.size_BN
        return self.alive_BN * (ones(self.x_BND) if self.size_BN is None else self.size_BN)

    def filled(self, prefix: int) -> Stream:
        """Fillers repeat the first patch token, which no maximum over tokens notices."""
        if self.alive_BN is None:
            return self
        first_B1D = self.x_BND[:, prefix : prefix + 1]
        return self._replace(x_BND=torch.where(self.alive_BN.unsqueeze(-1), self.x_BND, first_B1D))

    def moved(self, grouping: Grouping) -> Stream:
        """The homes of what remains."""
        if self.home_BN is None:
            return self
        kept_BK = grouping.kept_BK
        return self._replace(home_BN=self.home_BN.expand(kept_BK.shape[0], -1).gather(1, kept_BK))


def key_bias(log_size_B11N: Tensor | None, alive_BN: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to the logits of each key ``[B, 1, 1, N]``: log(size), minus infinity for a filler."""
    if alive_BN is None:
        return log_size_B11N
    hidden_B11N = torch.zeros_like(alive_BN, dtype=dtype).masked_fill(~alive_BN, -torch.inf)[:, None, None]
    return hidden_B11N if log_size_B11N is None else hidden_B11N + log_size_B11N
