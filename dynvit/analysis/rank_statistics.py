"""Rankings of tokens by score: average ranks, Spearman's correlation, membership of the lowest and the highest.

Scores are ``[B, N]``, one ranking per image; -inf ranks below everything. Tied tokens are never told apart by their
position: ranks are averaged, and a set whose border runs through tied tokens takes each of them in part, which is
what breaking the ties at random would give on average. A set is exactly `share` of the tokens, the last one in part
too (7.5 of 25), so that two independent rankings share exactly `share` of their sets on average.
"""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(scores_BN: Tensor) -> Tensor:
    """Ranks 1..N ``float64[B, N]``, the lowest score first."""
    below_BN, upto_BN = _counts(scores_BN)
    return (below_BN + upto_BN + 1).double() / 2


def rank_correlation(one_BN: Tensor, other_BN: Tensor) -> Tensor:
    """Spearman's correlation of each image ``float64[B]``; NaN where one of the rankings is all ties."""
    a_BN, b_BN = (ranks - ranks.mean(1, keepdim=True) for ranks in (average_ranks(one_BN), average_ranks(other_BN)))
    scale_B = (a_BN.square().sum(1) * b_BN.square().sum(1)).sqrt()
    return (a_BN * b_BN).sum(1) / torch.where(scale_B > 0, scale_B, float("nan"))


def lowest(scores_BN: Tensor, share: float) -> Tensor:
    """How far each token belongs to the lowest `share` of its image, 0..1 ``float64[B, N]``."""
    below_BN, upto_BN = _counts(scores_BN)
    return ((_size(share, scores_BN.shape[1]) - below_BN) / (upto_BN - below_BN).double()).clamp(0, 1)


def highest(scores_BN: Tensor, share: float) -> Tensor:
    """How far each token belongs to the highest `share` of its image."""
    below_BN, upto_BN = _counts(scores_BN)
    above_BN = scores_BN.shape[1] - upto_BN
    return ((_size(share, scores_BN.shape[1]) - above_BN) / (upto_BN - below_BN).double()).clamp(0, 1)


def _counts(scores_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Per token, how many of its image score less, and how many do not score more (itself included)."""
    scores_BN = scores_BN.double().contiguous()
    ordered_BN = scores_BN.sort(1).values
    return torch.searchsorted(ordered_BN, scores_BN), torch.searchsorted(ordered_BN, scores_BN, right=True)


def _size(share: float, tokens: int) -> float:
    """How many of N tokens; not a whole number in general."""
    if not 0 < share <= 0.5:
        raise ValueError(f"share is {share}; the lowest and the highest tokens are apart for 0 < share <= 0.5 only")
    return share * tokens
