"""ATS: tokens sampled by the inverse of the distribution of class attention times length of values (arXiv 2111.15667,
ECCV 2022). An image whose attention is concentrated keeps fewer tokens than the budget.

Sampling is inside the attention: tokens that are not sampled lose their queries, but are keys and values once more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dynvit.layers.full_precision import at_least_float32
from dynvit.reduction.counts import Plan
from dynvit.reduction.grouping import Grouping, Places, select
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.reducer import ReducingModel
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class ATS(Keeping):
    """Keeps the tokens that are nearest to equal steps of the cumulative score, in their order; each image its own
    number, at most what `keep` says (one more where the official rounding samples one more); batches are filled up."""

    name: ClassVar[str] = "ats"
    place: ClassVar = "own"
    needs_class_token: ClassVar[bool] = True
    static: ClassVar[bool] = False

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        """The most that an image keeps: as many as are sampled."""
        counts, result = super().plan(patches, prefix, depth), list[int | None]()
        for kept in counts:
            sampled = None if kept is None else steps(kept + 1)
            result.append(sampled if sampled is not None and sampled < patches else kept)
            patches = patches if kept is None else min(patches, result[-1] or 0)
        return tuple(result)

    def run_block(
        self, model: ReducingModel, block: int, stream: Stream, kept: int, places: Places
    ) -> tuple[Stream, Grouping]:
        parts, layer, where = model.parts(block), model.blocks[block], model.positions(stream, block)
        normed_BND = parts.normed(layer, stream.x_BND)
        bias = parts.bias(layer, model.attention_bias(stream), where)
        signals = Signals(*parts.qkv(layer, normed_BND, where), bias)
        score_BN = self.score(signals, places.prefix)
        wanted = super().plan(places.patches, places.prefix, places.depth)[block]
        assert wanted is not None
        index_BK, alive_BK = pick(score_BN[:, places.prefix :], wanted)
        P, B = places.prefix, index_BK.shape[0]
        grouping = Grouping(torch.cat([places.front(B), index_BK + P], 1), score_BN=score_BN)
        stays = select(stream.x_BND, grouping), select(normed_BND, grouping)
        x_BKD = parts.attend(layer, *stays, query_rows(signals, grouping.kept_BK, places.row_B1))
        if alive_BK is not None:
            alive_BK = torch.cat([alive_BK.new_ones(B, P), alive_BK], 1)
        stream = stream._replace(x_BND=parts.add_mlp(layer, x_BKD), alive_BN=alive_BK)
        return stream.moved(grouping), grouping

    def score(self, signals: Signals, prefix: int) -> Tensor:
        """Attention of the class token times the norm of the value, summed over heads, as shares of all patches:
        ``[B, N]``, without gradient."""
        norm_BHN = at_least_float32(signals.v_BHND.detach()).norm(dim=-1)
        score_BN = (signals.class_rows().detach() * norm_BHN).sum(1)
        return score_BN / (score_BN[:, prefix:].sum(1, keepdim=True) + 1e-6)


def steps(budget: int) -> int:
    """How many steps the official range of doubles has: budget - 1 for most, one more where rounding says so."""
    first, last = 1 / (2 * budget), (2 * budget - 1) / (2 * budget)
    return math.ceil((last - first) / (2 / (2 * budget)))


def pick(score_BM: Tensor, kept: int) -> tuple[Tensor, Tensor | None]:
    """Indices of the sampled tokens, rising, filled up to equal number by others behind them ``[B, K]``, and which of
    these are no fillers; None: all.

    Fillers of an earlier place stand last and score 0, so that of equal distances the first, a real token, is taken.
    """
    budget = kept + 1
    n_T = torch.arange(steps(budget), device=score_BM.device, dtype=score_BM.dtype)
    t_T = n_T / budget + 1 / (2 * budget)
    cumulative_BM1 = score_BM.cumsum(1).unsqueeze(-1)
    nearest_BT = (cumulative_BM1 - t_T).abs().argmin(1)
    stays_BM = torch.zeros_like(score_BM, dtype=torch.bool).scatter(1, nearest_BT, True)
    order_BM = stays_BM.int().argsort(dim=1, descending=True, stable=True)
    counts = [] if score_BM.is_meta else stays_BM.sum(1).tolist()
    counts = counts or [min(len(n_T), score_BM.shape[1])]
    alive_BK = None if min(counts) == max(counts) else stays_BM.gather(1, order_BM[:, : max(counts)])
    return order_BM[:, : max(counts)], alive_BK


def query_rows(signals: Signals, kept_BK: Tensor, row_B1: Tensor) -> Signals:
    """The signals with the queries of some tokens only."""
    q_BHKC = signals.q_BHND.transpose(1, 2)[row_B1, kept_BK].transpose(1, 2)
    bias = signals.bias
    if bias is not None and bias.shape[2] > 1:  # a row for each query
        bias = bias.expand(kept_BK.shape[0], -1, -1, -1).transpose(1, 2)[row_B1, kept_BK].transpose(1, 2)
    return signals._replace(q_BHND=q_BHKC, bias=bias)
