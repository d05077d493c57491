"""Rankings of tokens by score: average ranks, Spearman's correlation, membership of the lowest and the highest.

Scores are ``[B, N]``, one ranking per image; -inf ranks below everything. Ties are never broken by position: ranks are
averaged, and a set whose border runs through tied tokens includes each of them in part, the expectation of random
tie-breaking. A set is exactly `share` of the tokens, the last one in part too (7.5 of 25), so that two independent
rankings have exactly `share` of their sets in common on average.
"""

from __future__ import annotations

import torch
from torch import Tensor


def average_ranks(scores_BN: Tensor) -> Tensor:
    """Return ranks 1..N ``float64[B, N]``, the lowest score first."""
    below_BN, at_most_BN = _counts(scores_BN)
    return (below_BN + at_most_BN + 1).double() / 2


def rank_correlation(one_BN: Tensor, other_BN: Tensor) -> Tensor:
    """Return Spearman's correlation of each image ``float64[B]``; NaN if all scores of one ranking tie."""
    a_BN, b_BN = (ranks - ranks.mean(1, keepdim=True) for ranks in (average_ranks(one_BN), average_ranks(other_BN)))
    scale_B = (a_BN.square().sum(1) * b_BN.square().sum(1)).sqrt()
    return (a_BN * b_BN).sum(1) / torch.where(scale_B > 0, scale_B, float("nan"))


def lowest(scores_BN: Tensor, share: float) -> Tensor:
    """Return each token's membership in the lowest `share` of its image, 0..1 ``float64[B, N]``."""
    below_BN, at_most_BN = _counts(scores_BN)
    return ((_size(share, scores_BN.shape[1]) - below_BN) / (at_most_BN - below_BN).double()).clamp(0, 1)


def highest(scores_BN: Tensor, share: float) -> Tensor:
    """Return each token's membership in the highest `share` of its image, 0..1 ``float64[B, N]``."""
    below_BN, at_most_BN = _counts(scores_BN)
    above_BN = scores_BN.shape[1] - at_most_BN
    return ((_size(share, scores_BN.shape[1]) - above_BN) / (at_most_BN - below_BN).double()).clamp(0, 1)


def _counts(scores_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Return, per token, how many tokens of its image score less, and how many score at most as much."""
    scores_BN = scores_BN.double().contiguous()
    ordered_BN = scores_BN.sort(1).values
    return torch.searchsorted(ordered_BN, scores_BN), torch.searchsorted(ordered_BN, scores_BN, right=True)


def _size(share: float, tokens: int) -> float:
    """Return the size of a set of N tokens; not an integer in general."""
    if not 0 < share <= 0.5:
        raise ValueError(
            f"share must be above 0 and at most 0.5, so that lowest and highest tokens are disjoint; got {share}"
        )
    return share * tokens
