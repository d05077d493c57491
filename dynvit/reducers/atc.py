"""ATC: agglomerative clustering of the keys, bottom up, until K clusters are left (arXiv 2409.11923, ECCV 2024).

All images of a batch are clustered at once, one merge of each at a time. That is an operator of its own, so that a
graph of the model holds one node and not thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from dynvit.reduction.grouping import Grouping, Places, by_assignment
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.signals import Signals, similarity
from dynvit.reduction.stream import Stream

FAR = 1e30
"""Instead of a distance where there is none; finite, so that means of it are numbers."""


@dataclass(frozen=True)
class ATC(Keeping):
    """Merges the two nearest clusters again and again; a cluster becomes the mean of its tokens by size."""

    linkage: Literal["average", "complete", "single"] = "average"
    """Distance of two clusters: the mean, the largest or the smallest over their pairs of tokens."""
    proportional: bool = True
    """Sizes are carried from place to place, and in attention a token counts as often as the patches it represents."""

    name: ClassVar[str] = "atc"
    counts_sizes: ClassVar[bool] = True

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        metric_BMC = signals.unit_keys()[:, places.prefix :]
        first_BM = agglomerate(1 - similarity(metric_BMC, metric_BMC), kept, self.linkage)
        return by_first_member(first_BM, kept, places)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        after = super().combine(stream, grouping, block, places)
        return after if self.proportional else after._replace(size_BN=None)

    def key_bias(self, stream: Stream) -> Tensor | None:
        return stream.log_sizes()


def by_first_member(first_BM: Tensor, clusters: int, places: Places) -> Grouping:
    """The grouping by the first token of each one's cluster; the clusters in the order of these."""
    starts_BM = first_BM.eq(places.position_N.narrow(0, 0, first_BM.shape[1]))
    # A stable sort of flags lists the first tokens without a wait for their number.
    kept_BK = starts_BM.int().argsort(dim=1, descending=True, stable=True).narrow(1, 0, clusters)
    return by_assignment(kept_BK + places.prefix, starts_BM.cumsum(1).gather(1, first_BM) - 1, places)


@torch.library.custom_op("dynvit::agglomerate", mutates_args=())
def agglomerate(distance_BMM: Tensor, clusters: int, linkage: str) -> Tensor:
    """The first token of each token's cluster: ``int[B, M]``; of equal distances the pair with the first token merges.

    One merge changes a row and a column (Lance and Williams, 1967), so that each costs a pass over the rows' minima.
    """
    B, M = distance_BMM.shape[:2]
    # A product's two triangles may differ in the last digit.
    square_BMM = torch.maximum(distance_BMM, distance_BMM.transpose(1, 2))
    diagonal_BM = square_BMM.diagonal(dim1=1, dim2=2).fill_(FAR)
    rows, far_BM1 = square_BMM.view(B * M, M), square_BMM.new_full((B, M, 1), FAR)
    offset_B = torch.arange(B, device=rows.device) * M
    parent = torch.arange(M, device=rows.device).repeat(B)
    count = rows.new_ones(B * M, 1)
    nearest_BM = rows.new_empty(B, M)
    for _ in range(M - clusters):
        torch.amin(square_BMM, 2, out=nearest_BM)
        stays_B = nearest_BM.argmin(1)
        stays = stays_B + offset_B
        near_BM = rows.index_select(0, stays)
        goes_B = near_BM.argmin(1)
        goes = goes_B + offset_B
        new_BM = _linked(near_BM, rows.index_select(0, goes), count, stays, goes, linkage)
        rows.index_copy_(0, stays, new_BM)
        square_BMM.scatter_(2, stays_B.view(B, 1, 1).expand(B, M, 1), new_BM.unsqueeze(2))
        square_BMM.scatter_(2, goes_B.view(B, 1, 1).expand(B, M, 1), far_BM1)
        rows.index_fill_(0, goes, FAR)
        diagonal_BM.fill_(FAR)
        parent.index_copy_(0, goes, stays_B)
    first_BM = parent.view(B, M)
    for _ in range(M.bit_length()):
        first_BM = first_BM.gather(1, first_BM)
    return first_BM


@agglomerate.register_fake
def _(distance_BMM: Tensor, clusters: int, linkage: str) -> Tensor:
    return distance_BMM.new_empty(distance_BMM.shape[:2], dtype=torch.int64)


def _linked(a_BM: Tensor, b_BM: Tensor, count: Tensor, a: Tensor, b: Tensor, linkage: str) -> Tensor:
    """Distances of the union of two clusters to all others; FAR, or a good part of it, to what is in another."""
    if linkage == "complete":
        return torch.maximum(a_BM, b_BM)
    if linkage == "single":
        return torch.minimum(a_BM, b_BM)
    count_b = count.index_select(0, b)
    count.index_add_(0, a, count_b)
    return torch.lerp(a_BM, b_BM, count_b.div_(count.index_select(0, a)))
