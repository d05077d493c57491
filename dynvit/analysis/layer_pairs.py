"""Changes of token importance between the layers of a model: means over images for each pair of layers.

rank_correlation   Spearman's correlation of the scores in two layers
returned           of the tokens that score lowest in the earlier layer, the share that scores highest in the later one
survival           of the tokens that score highest in the earlier layer, the share that still does in the later one
returned_ever      for one layer: as `returned`, in at least one of all later layers
*_same_layer       for one layer, in two views of the image that differ by noise: what a score's own noise gives

"Lowest" and "highest" are the same share of an image's tokens (30 %), so independent rankings return and survive at
that share. Layers of different grids are compared on the coarser one, the finer one averaged over its cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import torch.nn.functional as F
from torch import Tensor

from dynvit.analysis import token_reactivation as reactivation
from dynvit.analysis.rank_statistics import highest, lowest, rank_correlation

PAIRS = ("rank_correlation", "returned", "survival")
SAME_LAYER = tuple(f"{name}_same_layer" for name in PAIRS)
Pair = tuple[int, int]


class LayerPairs:
    """Sums over batches; an image whose scores all tie in a layer is left out of that layer's correlations."""

    def __init__(self, share: float = 0.3) -> None:
        self.share = share
        self.sums: dict[tuple[str, tuple[int, ...]], tuple[float, int]] = {}

    def add(self, scores: Sequence[Tensor | None]) -> None:
        """Add a batch: per layer ``[B, N]``, None for a layer without score."""
        scored = {i: s_BN for i, s_BN in enumerate(scores) if s_BN is not None}
        for l, m in combinations(scored, 2):
            self._compare(PAIRS, (l, m), *same_grid(scored[l], scored[m]))
        if len({s_BN.shape for s_BN in scored.values()}) == 1:
            high = [(m, self._high(s_BN)) for m, s_BN in scored.items()]
            for l in list(scored)[:-1]:
                later = [high_BN for m, high_BN in high if m > l]
                self._count("returned_ever", (l,), reactivation.share_in_any(self._low(scored[l]), later))

    def add_views(self, one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> None:
        """Add two noisy views of a batch: per layer ``[B, N]``, None for a layer without score."""
        for l, (one_BN, other_BN) in enumerate(zip(one, other, strict=True)):
            if one_BN is not None and other_BN is not None:
                self._compare(SAME_LAYER, (l,), one_BN, other_BN)

    def pairs(self, statistic: str) -> dict[Pair, float]:
        """Return (earlier, later) -> mean over images, for the pairs that have one."""
        return {(k[0], k[1]): mean for k, mean in self._means(statistic)}

    def summary(self) -> dict[str, float]:
        """Return each statistic's mean over its pairs (layers), and what `returned_ever` would be by chance."""
        found = {name: [mean for _, mean in self._means(name)] for name in (*PAIRS, *SAME_LAYER, "returned_ever")}
        summary = {name: sum(means) / len(means) for name, means in found.items() if means}
        if "returned_ever" in summary:
            summary["returned_by_chance"] = reactivation.by_chance(self.share, 1 + len(found["returned_ever"]))
        return summary

    def _compare(self, names: Sequence[str], layers: tuple[int, ...], one_BN: Tensor, other_BN: Tensor) -> None:
        """Count, under the names, correlation, returned and survival from one ranking to the other."""
        later_BN = self._high(other_BN)
        self._count(names[0], layers, rank_correlation(one_BN, other_BN))
        self._count(names[1], layers, reactivation.share_in(self._low(one_BN), later_BN))
        self._count(names[2], layers, reactivation.share_in(self._high(one_BN), later_BN))

    def _means(self, statistic: str) -> Iterator[tuple[tuple[int, ...], float]]:
        for (name, layers), (total, images) in sorted(self.sums.items()):
            if name == statistic and images:
                yield layers, total / images

    def _count(self, statistic: str, layers: tuple[int, ...], value_B: Tensor) -> None:
        total, images = self.sums.get((statistic, layers), (0.0, 0))
        defined_B = value_B[~value_B.isnan()]
        self.sums[statistic, layers] = (total + float(defined_B.sum()), images + len(defined_B))

    def _low(self, scores_BN: Tensor) -> Tensor:
        return lowest(scores_BN, self.share)

    def _high(self, scores_BN: Tensor) -> Tensor:
        return highest(scores_BN, self.share)


def same_grid(one_BN: Tensor, other_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Average both to the coarser of their square grids."""
    n = min(one_BN.shape[1], other_BN.shape[1])
    return _pooled(one_BN, n), _pooled(other_BN, n)


def _pooled(scores_BN: Tensor, n: int) -> Tensor:
    fine, coarse = round(scores_BN.shape[1] ** 0.5), round(n**0.5)
    if scores_BN.shape[1] == n:
        return scores_BN
    if fine * fine != scores_BN.shape[1] or coarse * coarse != n:
        raise ValueError(f"cannot compare a grid of {scores_BN.shape[1]} tokens with one of {n}")
    return F.adaptive_avg_pool2d(scores_BN.float().view(-1, 1, fine, fine), coarse).flatten(1)
