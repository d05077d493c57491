"""ToMe's bipartite matching: pairs of tokens with similar keys become one token, their mean weighted by size.

Tokens at even positions look for their best partner at the odd ones. The P prefix tokens (class, distillation,
registers) take no part and stay in front. Afterwards come the unmerged even tokens in their order, then all odd ones:
that order decides which tokens can merge in the next block.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.layers.full_precision import at_least_float32, autocast_off
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_gather import top_tokens


class Pairs(NamedTuple):
    """kept_BK: positions of the tokens that remain, in their new order. gone_BR: positions of those that are merged
    into another, into_BR: whose new position this is."""

    kept_BK: Tensor
    gone_BR: Tensor
    into_BR: Tensor


def mergeable(tokens: int, prefix: int, r: int) -> int:
    """How many tokens can go: at most half of those that are not prefix."""
    return max(min(r, (tokens - prefix) // 2), 0)


def match(k_BHND: Tensor, r: int, prefix: int, position_N: Tensor) -> Pairs:
    """The r most similar pairs, by the cosine of the keys' means over heads. position_N: 0, 1, 2, ... N-1 or more."""
    even, odd = prefix + prefix % 2, prefix + 1 - prefix % 2
    metric_BND = F.normalize(at_least_float32(k_BHND.detach()).mean(1), dim=-1)
    with exclude_from_macs(), autocast_off(k_BHND):  # no attention product: the published cost leaves it out
        similarity_BST = metric_BND[:, even::2].matmul(metric_BND[:, odd::2].transpose(1, 2))
    best_BS, partner_BS = similarity_BST.max(-1)
    order_BS = top_tokens(best_BS, best_BS.shape[1])
    (B, S), T = order_BS.shape, similarity_BST.shape[2]
    gone_BR, stays_BU = order_BS.narrow(1, 0, r), order_BS.narrow(1, r, S - r).sort()[0]
    front_BP = position_N.narrow(0, 0, prefix).expand(B, -1)
    odd_BT = position_N.narrow(0, odd, 2 * T - 1)[::2].expand(B, -1)
    kept_BK = torch.cat([front_BP, stays_BU.mul(2).add(even), odd_BT], 1)
    return Pairs(kept_BK, gone_BR.mul(2).add(even), partner_BS.gather(1, gone_BR).add(prefix + S - r))


def merge(x_BND: Tensor, size_BN: Tensor | None, pairs: Pairs, row_B1: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens after the merge and how many patches each represents; sizes None: 1 each.

    Only tokens that receive something change: the mean of sizes s and values x moves by s_i (x_i - x) / sum s.
    row_B1: 0, 1, ... B-1, for indexing.
    """
    kept_BK, gone_BR, into_BR = pairs
    if size_BN is None:
        size_BN = torch.ones_like(x_BND[..., 0], dtype=size_type(x_BND))
    more_BR = size_BN.gather(1, gone_BR)
    size_BK = size_BN.gather(1, kept_BK).scatter_add_(1, into_BR, more_BR)
    share_BR1 = more_BR.div(size_BK.gather(1, into_BR)).to(x_BND.dtype).unsqueeze(-1)
    y_BKD = x_BND[row_B1, kept_BK]
    change_BRD = x_BND[row_B1, gone_BR].sub(y_BKD[row_B1, into_BR]).mul(share_BR1)
    return y_BKD.index_put_((row_B1, into_BR), change_BRD, accumulate=True), size_BK


def size_type(x: Tensor) -> torch.dtype:
    """Sizes are counts: half precision would round them above 256."""
    return torch.promote_types(x.dtype, torch.float32)
