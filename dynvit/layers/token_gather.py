"""Tokens by index: take some of an image's tokens, put them back, undo an order; static shapes, no host sync.

Indices are unique within an image. Rows of the flattened batch are selected (``index_select``), which is
faster than ``torch.gather`` with an expanded index and has the same gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gather_tokens(x_BND: Tensor, index_BK: Tensor) -> Tensor:
    """The tokens of each image at its indices: ``[B, K, D]``."""
    B, N, D = x_BND.shape
    return x_BND.reshape(B * N, D).index_select(0, _flat(index_BK, N)).view(B, index_BK.shape[1], D)


def scatter_tokens(x_BND: Tensor, index_BK: Tensor, new_BKD: Tensor) -> Tensor:
    """A copy of ``x_BND`` in which the tokens at the indices are replaced; the dtype stays that of ``x_BND``."""
    B, N, D = x_BND.shape
    new_RD = new_BKD.reshape(-1, D).to(x_BND.dtype)
    return x_BND.reshape(B * N, D).index_copy(0, _flat(index_BK, N), new_RD).view(B, N, D)


def top_tokens(score_BN: Tensor, count: int) -> Tensor:
    """Indices ``[B, count]`` of the highest scores, falling; of equal scores the first: the same on every device."""
    if torch.onnx.is_in_onnx_export():  # ONNX has no other sort than its TopK, which is stable
        return score_BN.topk(count, dim=1).indices
    order_BN = score_BN.argsort(dim=1, descending=True, stable=True)
    return order_BN if count == order_BN.shape[1] else order_BN[:, :count]


def random_orders(layers: int, tokens: int) -> Tensor:
    """Ranks of the tokens by chance, an order per layer ``[L, N]``, on the CPU: the same at every call."""
    generators = [torch.Generator().manual_seed(1000 + layer) for layer in range(layers)]
    noise = [torch.rand(tokens, generator=g, dtype=torch.float64, device="cpu") for g in generators]
    return torch.stack(noise).argsort(1).argsort(1)


def inverse(order_BN: Tensor) -> Tensor:
    """The permutation that undoes ``order_BN``: ``gather(gather(x, order), inverse(order)) == x``."""
    places_BN = torch.arange(order_BN.shape[1], device=order_BN.device).expand_as(order_BN)
    return torch.empty_like(order_BN).scatter_(1, order_BN, places_BN)


def _flat(index_BK: Tensor, tokens: int) -> Tensor:
    """Row numbers in the flattened batch."""
    first_B1 = torch.arange(index_BK.shape[0], device=index_BK.device)[:, None] * tokens
    return (index_BK + first_B1).reshape(-1)
