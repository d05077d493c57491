"""MCTF: tokens merge by similarity, informativeness and size at once, from both sides (arXiv 2403.10030, CVPR 2024).

A block that reduces does so on its input, by the attention that it is about to compute; that attention is merged with
the tokens instead of being computed anew. Order matters: position decides who meets whom in the next block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.config.option_checks import check_not_negative, check_positive
from dynvit.layers.full_precision import at_least_float32
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.reducers.mctf_matching import match_both_ways
from dynvit.reducers.mctf_training import consistent_forward
from dynvit.reduction.counts import Plan, check_locations
from dynvit.reduction.grouping import Grouping, Places, group_mean, sizes
from dynvit.reduction.reducer import Reducer, ReducingModel
from dynvit.reduction.signals import Signals, similarity
from dynvit.reduction.stream import Stream

FEWEST = 9
"""Patch tokens at which merging ends; the papers' 10 tokens count the class token."""


@dataclass(frozen=True)
class MCTF(Reducer):
    """Merges the r most attractive tokens of a block, half of them from each side of the matching."""

    r: float = 16
    """Patch tokens that each block merges, or a share below 1 of those that it has; at most half of them."""
    layers: Sequence[int] | None = None
    """Blocks that reduce, counted from 0; not given: all but the first. The authors' fast form: (3, 6, 9), r 0.35."""
    ahead: Literal[0, 1, 2] = 1
    """1: merge on the input of the block, and merge its attention map too; 2: compute that anew; 0: merge at the end
    of the block."""
    pooling: Literal["attention", "size", 0, 1] = "attention"
    """What weighs tokens in a mean: size times received attention (1), or size alone (0)."""
    taus: Sequence[float] = (1.0, 20.0, 40.0)
    """Temperatures of similarity, informativeness and size: the larger, the less it matters."""
    bidirection: bool = True
    """Merge from both sides; else only tokens at even positions into those at odd ones."""
    r_teacher: int = 8
    """In training a second pass merges fewer tokens, a number drawn below this one; 0: no second pass."""
    threshold: float = 0.4
    """Images whose label has a greater probability are to have the features of the second pass."""
    consistency: float = 3.0
    """Weight of the distance between the features."""

    name: ClassVar[str] = "mctf"
    place: ClassVar[Literal["own"]] = "own"
    counts_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(r=self.r, r_teacher=self.r_teacher, consistency=self.consistency)
        if self.r >= 1 and self.r != int(self.r):
            raise ValueError(f"r must be a number of tokens or a share below 1, got {self.r}")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], as the probability that it is, got {self.threshold}")
        if len(self.taus) != 3:
            raise ValueError(f"taus has {len(self.taus)} entries, needed are three: similarity, informativeness, size")
        for tau in self.taus:
            check_positive(taus=tau)

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        layers = range(1, depth) if self.layers is None else check_locations(self.layers, depth, name="layers")
        plan: list[int | None] = [None] * depth
        for layer in layers:
            r = self.r if patches - self.r >= FEWEST else patches - FEWEST
            patches -= max(min(int(patches * r if 0 < r < 1 else r), patches // 2), 0)
            plan[layer] = patches
        return tuple(plan)

    def key_bias(self, stream: Stream) -> Tensor | None:
        return stream.log_sizes()

    def train_forward(self, model: Any, images: Tensor) -> Any:
        pools = model.global_pool != "" or model.attn_pool is not None  # else there are no features of an image
        return consistent_forward(self, model, images) if self.r_teacher and pools else None

    def run_block(
        self, model: ReducingModel, block: int, stream: Stream, kept: int, places: Places
    ) -> tuple[Stream, Grouping | None]:
        layer, parts, where = model.blocks[block], model.parts(block), model.positions(stream, block)
        bias = model.attention_bias(stream)
        if self.ahead == 0:
            x_BND, signals = parts.attention(layer, stream.x_BND, bias, where)
            stream = stream._replace(x_BND=parts.add_mlp(layer, x_BND))
            grouping, weight_BN = self.match(stream, signals.attention(), kept, places)
            return self.fuse(stream, grouping, weight_BN, places), grouping
        q, k = parts.queries_keys(layer, parts.normed(layer, stream.x_BND), where)
        map_BHNN = Signals(q, k, k, parts.bias(layer, bias, where)).attention(counted=True)
        grouping, weight_BN = self.match(stream, map_BHNN, kept, places)
        fused = self.fuse(stream, grouping, weight_BN, places)
        if self.ahead == 2:
            bias, where = model.attention_bias(fused), model.positions(fused, block)
            return fused._replace(x_BND=parts.whole(layer, fused.x_BND, bias, where)), grouping
        normed_BKD = parts.normed(layer, fused.x_BND)
        map_BHNN = layer.attn.attn_drop(map_BHNN)  # type: ignore[union-attr,operator]
        mixed_BKD = merged_attention(map_BHNN, parts.values(layer, normed_BKD), grouping, weight_BN, places)
        x_BKD = parts.add_attention(layer, fused.x_BND, parts.project(layer, mixed_BKD, normed_BKD))
        return fused._replace(x_BND=parts.add_mlp(layer, x_BKD)), grouping

    def match(self, stream: Stream, map_BHNN: Tensor, kept: int, places: Places) -> tuple[Grouping, Tensor]:
        """Who joins whom, and the weights of the means ``[B, N]``."""
        received_BN, size_BN = map_BHNN.detach().mean((1, 2)), stream.size_BN
        by_similarity, by_information, by_size = (1 / tau for tau in self.taus)
        factor_BN = (received_BN.amin(1, keepdim=True) / received_BN) ** by_information
        weight_BN = received_BN
        if size_BN is not None:
            factor_BN = factor_BN * (size_BN.amin(1, keepdim=True) / size_BN) ** by_size
            weight_BN = received_BN * size_BN if self.pooling in ("attention", 1) else size_BN
        elif self.pooling in ("size", 0):
            weight_BN = received_BN.new_ones(()).expand_as(received_BN)
        unit_BND = F.normalize(at_least_float32(stream.x_BND.detach()), dim=-1)
        even, odd = places.parity()
        cosine_BST = similarity(unit_BND[:, even::2], unit_BND[:, odd::2])
        attraction_BST = ((cosine_BST + 1) / 2).clamp(min=0) ** by_similarity
        attraction_BST = attraction_BST * factor_BN[:, even::2, None] * factor_BN[:, None, odd::2]
        r = stream.x_BND.shape[1] - places.prefix - kept
        return match_both_ways(attraction_BST, r - r // 2 if self.bidirection else 0, r, places), weight_BN

    def fuse(self, stream: Stream, grouping: Grouping, weight_BN: Tensor, places: Places) -> Stream:
        x_BKD, _ = group_mean(stream.x_BND, weight_BN, grouping, places)
        size_BK = sizes(stream.size_BN, stream.x_BND, grouping)
        return stream._replace(x_BND=x_BKD, size_BN=size_BK).moved(grouping)


def merged_attention(
    map_BHNN: Tensor, value_BKD: Tensor, grouping: Grouping, weight_BN: Tensor, places: Places
) -> Tensor:
    """The merged map, columns added and rows averaged, times the values of the merged tokens: ``[B, K, D]``.

    To add columns is to give every token the value of its group, and rows can be averaged after the product: the map
    itself, the largest tensor of the block, is not touched.
    """
    B, H, N, _ = map_BHNN.shape
    K, D = value_BKD.shape[1:]
    # Taken head by head, which is how the product wants them: one copy for both.
    head_H1 = torch.arange(H, device=value_BKD.device)[:, None]
    row_BHN = (grouping.token_of(N) + places.row_B1 * K).unsqueeze(1) * H + head_H1
    value_GNC = value_BKD.reshape(B * K * H, D // H).index_select(0, row_BHN.flatten()).view(B * H, N, D // H)
    with exclude_from_macs(counted=B * K * K * D):
        mixed_BHNC = map_BHNN.to(value_BKD.dtype).flatten(0, 1).bmm(value_GNC).unflatten(0, (B, H))
    return group_mean(mixed_BHNC.transpose(1, 2).flatten(2), weight_BN, grouping, places)[0]
