"""PiToMe: tokens that are like many others merge, those of rare content are protected (arXiv 2405.16148, NeurIPS 2024).

The energy of a token says how many tokens are like it. In the first half of the blocks all patch tokens are candidates,
later only the 2 r of highest energy; every second candidate looks for its best partner among the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dynvit.config.option_checks import check_positive
from dynvit.layers.token_gather import gather_tokens, top_tokens
from dynvit.reduction.counts import Plan, ratio_counts
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.signals import Signals, similarity
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class PiToMe(Reducer):
    """Merges the tokens of highest energy in every block; tokens carry sizes, attention does not count them."""

    ratio: float = 0.925
    """Share of the patch tokens that each block keeps, at least one half."""
    margin: float = 0.75
    """Cosine from which two tokens are alike, in the first block; it falls linearly to 0."""
    alpha: float = 1.0
    """How much tokens that are not alike lower the energy."""

    name: ClassVar[str] = "pitome"
    counts_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.ratio <= 1:
            raise ValueError(f"ratio must lie in [0.5, 1], got {self.ratio}: a block can merge half of its tokens")
        check_positive(alpha=self.alpha)

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        return ratio_counts(self.ratio, patches, depth)

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        metric_BMC = signals.unit_keys()[:, places.prefix :]
        margin = self.margin * (1 - block / places.depth)
        alike_BMM = similarity(metric_BMC, metric_BMC).sub_(margin)
        # The mean of ELU but for a factor and a constant, which no order sees; its exponential takes longer.
        energy_BM = alike_BMM.clamp(min=0).sum(-1) + self.alpha * alike_BMM.clamp_(max=0).exp_().sum(-1)
        order_BM = top_tokens(energy_BM, energy_BM.shape[1])
        r = order_BM.shape[1] - kept
        candidates = order_BM.shape[1] if block < math.ceil(places.depth / 2) else 2 * r
        return pair_up(metric_BMC, order_BM, candidates, r, places)


def pair_up(metric_BMC: Tensor, order_BM: Tensor, candidates: int, r: int, places: Places) -> Grouping:
    """Of the first `candidates` of the order every second looks for its best partner among those between; the r best
    of these pairs merge. New order: prefix, those that did not merge, partners."""
    P, B = places.prefix, order_BM.shape[0]
    a_BS, b_BT = order_BM[:, 0:candidates:2], order_BM[:, 1:candidates:2]
    best_BS, partner_BS = similarity(gather_tokens(metric_BMC, a_BS), gather_tokens(metric_BMC, b_BT)).max(-1)
    S = a_BS.shape[1]
    if r < S:
        rank_BS = top_tokens(best_BS, S)
        a_BS, partner_BS = a_BS.gather(1, rank_BS), partner_BS.gather(1, rank_BS)
    gone_BR, stays_BU = a_BS.narrow(1, 0, r), a_BS.narrow(1, r, S - r)
    protected_BX = order_BM[:, candidates:]
    kept_BK = torch.cat([places.front(B), stays_BU + P, protected_BX + P, b_BT + P], 1)
    into_BR = partner_BS.narrow(1, 0, r) + (P + S - r + protected_BX.shape[1])
    return Grouping(kept_BK, gone_BR + P, into_BR)
