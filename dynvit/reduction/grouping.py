"""Grouping: which tokens remain and which of them the others join; means over groups.

Shapes: B images, N tokens before, K after, R that join another. Prefix tokens (class, distillation, registers) are in
front and take no part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.layers.token_gather import gather_tokens
from dynvit.reduction.counts import Plan


class Grouping(NamedTuple):
    """kept_BK: positions of the tokens that remain, in their new order.

    gone_BR: positions of tokens that are joined to another, into_BR: whose new position that is; None: none joins, and
    whoever is not kept vanishes.
    weight_BR: how much each of these counts, where one that is kept counts 1; None: 1 too.
    added: new tokens, behind the kept ones, that stand for no position (EViT's fused token).
    score_BN: what decided, by position; for traces only.
    mixed_BCD: the new tokens behind the prefix themselves, by methods in which each is a mixture of all; then the rest
    only says what stands for what in traces.
    """

    kept_BK: Tensor
    gone_BR: Tensor | None = None
    into_BR: Tensor | None = None
    weight_BR: Tensor | None = None
    added: int = 0
    score_BN: Tensor | None = None
    mixed_BCD: Tensor | None = None

    def token_of(self, tokens: int) -> Tensor:
        """The new position of each of the `tokens`, -1 where it vanished: ``int[B, N]``."""
        kept_BK = self.kept_BK
        place_BK = torch.arange(kept_BK.shape[1], device=kept_BK.device).expand_as(kept_BK)
        new_BN = kept_BK.new_full((kept_BK.shape[0], tokens), -1).scatter(1, kept_BK, place_BK)
        if self.gone_BR is None or self.into_BR is None:
            return new_BN
        return new_BN.scatter(1, self.gone_BR, self.into_BR)


class Places(NamedTuple):
    """What holds for a whole forward pass. position_N: 0, 1, ... N-1 of the input. row_B1: 0, 1, ... B-1.
    prefix: tokens in front of the patches. grid: rows and columns of patches. plan: patch tokens that are left after
    each block, None where none goes. model: the one that is reduced, with the layers that the method added."""

    position_N: Tensor
    row_B1: Tensor
    prefix: int
    grid: tuple[int, int]
    plan: Plan
    model: nn.Module

    @classmethod
    def of(cls, x_BND: Tensor, prefix: int, grid: tuple[int, int], plan: Plan, model: Any = None) -> Places:
        position_N, row_B = (torch.arange(n, device=x_BND.device) for n in (x_BND.shape[1], x_BND.shape[0]))
        return cls(position_N, row_B.unsqueeze(-1), prefix, grid, plan, model)

    @property
    def patches(self) -> int:
        """Of the image."""
        return self.position_N.shape[0] - self.prefix

    @property
    def depth(self) -> int:
        """Blocks of the model."""
        return len(self.plan)

    def parity(self) -> tuple[int, int]:
        """The first patch token at an even position, and the first at an odd one."""
        return self.prefix + self.prefix % 2, self.prefix + 1 - self.prefix % 2

    def front(self, batch: int) -> Tensor:
        """Positions of the prefix tokens: ``[B, P]``."""
        return self.position_N.narrow(0, 0, self.prefix).expand(batch, -1)


def select(x_BND: Tensor, grouping: Grouping) -> Tensor:
    """The tokens that remain: ``[B, K, D]``."""
    return gather_tokens(x_BND, grouping.kept_BK)


def sizes(size_BN: Tensor | None, x_BND: Tensor, grouping: Grouping) -> Tensor:
    """How many tokens of the input each group represents ``[B, K]``; sizes None: 1 each."""
    size_BN = ones(x_BND) if size_BN is None else size_BN
    size_BK = size_BN.gather(1, grouping.kept_BK)
    if grouping.gone_BR is None or grouping.into_BR is None:
        return size_BK
    return size_BK.scatter_add(1, grouping.into_BR, _brought(size_BN, grouping))


def group_mean(x_BND: Tensor, weight_BN: Tensor | None, grouping: Grouping, places: Places) -> tuple[Tensor, Tensor]:
    """Means over groups by weight ``[B, K, D]``, and the sums of weights ``[B, K]``; weights None: 1 each.

    Only tokens that receive something change: the mean moves by w_i (x_i - x) / sum w.
    """
    weight_BN = ones(x_BND) if weight_BN is None else weight_BN
    # Rows of a table: on the CPU several times as fast as an index of two.
    y_BKD = F.embedding(places.row_B1.mul(x_BND.shape[1]).add(grouping.kept_BK), x_BND.flatten(0, 1))
    weight_BK = weight_BN.gather(1, grouping.kept_BK)
    gone_BR, into_BR, row_B1 = grouping.gone_BR, grouping.into_BR, places.row_B1
    if gone_BR is None or into_BR is None:
        return y_BKD, weight_BK
    more_BR = _brought(weight_BN, grouping)
    weight_BK = weight_BK.scatter_add_(1, into_BR, more_BR)
    share_BR1 = more_BR.div(weight_BK.gather(1, into_BR)).to(x_BND.dtype).unsqueeze(-1)
    change_BRD = x_BND[row_B1, gone_BR].sub(y_BKD[row_B1, into_BR]).mul(share_BR1)
    return y_BKD.index_put_((row_B1, into_BR), change_BRD, accumulate=True), weight_BK


def _brought(weight_BN: Tensor, grouping: Grouping) -> Tensor:
    """What each token that goes adds to the weight of the one that it joins."""
    assert grouping.gone_BR is not None
    weight_BR = weight_BN.gather(1, grouping.gone_BR)
    return weight_BR if grouping.weight_BR is None else weight_BR * grouping.weight_BR


def by_assignment(kept_BK: Tensor, group_BM: Tensor, places: Places) -> Grouping:
    """The grouping of patch tokens by cluster: group_BM is each one's cluster, kept_BK the position (prefix counted)
    of each cluster's representative, in the order of the clusters.

    Every patch but the representatives is in `gone_BR`, so that R = M - K is the same in every image.
    """
    P, (B, K), M = places.prefix, kept_BK.shape, group_BM.shape[1]
    stays_BM = torch.zeros_like(group_BM, dtype=torch.bool).scatter(1, kept_BK - P, True)
    # A stable sort of flags puts those that join first, in their order, without a wait for their number.
    gone_BR = stays_BM.int().argsort(dim=1, stable=True).narrow(1, 0, M - K)
    return Grouping(torch.cat([places.front(B), kept_BK], 1), gone_BR + P, group_BM.gather(1, gone_BR) + P)


def ones(x_BND: Tensor) -> Tensor:
    """Sizes of tokens that were not merged. Sizes are counts: half precision would round them above 256."""
    return torch.ones_like(x_BND[..., 0], dtype=torch.promote_types(x_BND.dtype, torch.float32))
