"""Reactivation of tokens: shares of a set of tokens that belong to another set, in one or in any of several layers.

TPC-ViT's premise is that a token which is redundant in one layer may matter in a later one. Sets are memberships
``[B, N]`` in 0..1 (``dynvit.analysis.rank_statistics``) or bool. A share is NaN for an image whose first set is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def share_in(first_BN: Tensor, second_BN: Tensor) -> Tensor:
    """Return the share of the first set that is in the second ``float64[B]``.

    Lowest in layer l, highest in layer m: the return rate. Highest in both: the survival rate.
    """
    first_BN = first_BN.double()
    return _divided((first_BN * second_BN.double()).sum(1), first_BN.sum(1))


def share_in_any(first_BN: Tensor, others_BN: Sequence[Tensor]) -> Tensor:
    """Return the share of the first set that is in at least one other; partial memberships count as independent."""
    missed_BN = torch.ones_like(first_BN, dtype=torch.float64)
    for other_BN in others_BN:
        missed_BN = missed_BN * (1 - other_BN.double())
    return share_in(first_BN, 1 - missed_BN)


def by_chance(share: float, layers: int) -> float:
    """Return the expectation of `share_in_any` for independent rankings, mean over the layers that have a later one."""
    later = range(1, layers)
    return sum(1 - (1 - share) ** k for k in later) / len(later) if layers > 1 else float("nan")


def reactivated_share(active_LBN: Sequence[Tensor]) -> Tensor:
    """Return the share of tokens inactive in some layer that are active in a later one ``float64[B]``."""
    inactive_BN = torch.zeros_like(active_LBN[0], dtype=torch.bool)
    reactivated_BN = inactive_BN.clone()
    for active_BN in active_LBN:
        reactivated_BN |= inactive_BN & active_BN
        inactive_BN |= ~active_BN
    return share_in(inactive_BN, reactivated_BN)


def _divided(part_B: Tensor, whole_B: Tensor) -> Tensor:
    return part_B / torch.where(whole_B > 0, whole_B, float("nan"))
