"""Matching of two halves from both sides, for MCTF."""

from __future__ import annotations

import torch
from torch import Tensor

from dynvit.layers.token_gather import gather_tokens, inverse, top_tokens
from dynvit.reduction.grouping import Grouping, Places


def match_both_ways(attraction_BST: Tensor, back: int, r: int, places: Places) -> Grouping:
    """r tokens join the one of the other half that attracts them most: first r - `back` at even positions, then
    `back` at odd ones, each with all that have joined it, to the even tokens that are left.

    New order: prefix, even tokens by position, odd ones by falling attraction of the second step (by position where
    none is taken).
    """
    B, S, T = attraction_BST.shape
    P, (even, odd) = places.prefix, places.parity()
    best_BS, partner_BS = attraction_BST.max(2)
    order_BS = top_tokens(best_BS, S)
    gone_BE, left_BU = order_BS[:, : r - back], order_BS[:, r - back :].sort(1)[0]
    U = left_BU.shape[1]
    order_BT = into_BT = torch.arange(T, device=best_BS.device).expand(B, -1)
    if back:  # without, all even tokens may be gone
        best_BT, into_BT = gather_tokens(attraction_BST, left_BU).max(1)
        order_BT = top_tokens(best_BT, T)
    # Of an odd token that goes: the place of its partner among the even; of one that stays: behind all even.
    rank_BT = inverse(order_BT)
    new_BT = P + torch.where(rank_BT < back, into_BT, rank_BT + (U - back))
    gone_BO, left_BO = order_BT[:, :back], order_BT[:, back:]
    return Grouping(
        torch.cat([places.front(B), left_BU * 2 + even, left_BO * 2 + odd], 1),
        torch.cat([gone_BE * 2 + even, gone_BO * 2 + odd], 1),
        torch.cat([new_BT.gather(1, partner_BS.gather(1, gone_BE)), into_BT.gather(1, gone_BO) + P], 1),
    )
