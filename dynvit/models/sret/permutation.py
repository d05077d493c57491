"""Token permutations between the passes of a sliced block: who draws them, how they are applied and undone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Permuter = Callable[[int, int], Tensor]
"""``(k, n)`` -> the k-th permutation of a forward pass, ``int64[n]``."""


def seeded_order(seed: int, k: int, n: int) -> Tensor:
    """The k-th permutation of n tokens that belongs to a seed, on the CPU."""
    generator = torch.Generator("cpu").manual_seed(zlib.crc32(f"{seed}:{k}:{n}".encode()))
    return torch.randperm(n, generator=generator, device="cpu")


def inverse_order(order_N: Tensor) -> Tensor:
    """The permutation that undoes `order_N`, without leaving the device."""
    positions_N = torch.arange(order_N.shape[0], device=order_N.device)
    return torch.empty_like(order_N).scatter_(0, order_N, positions_N)


class SeededPermuter(nn.Module):
    """Fixed permutations in eval mode, a fresh draw on the model's device in training mode.

    lengths: the number of tokens of every permutation that one forward pass asks for. The fixed ones are
    made once and move with the model; they are not part of its state dict.
    """

    def __init__(self, lengths: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.lengths = tuple(lengths)
        self.starts = [sum(self.lengths[:k]) for k in range(len(self.lengths))]
        none = torch.empty(0, dtype=torch.int64, device="cpu")
        orders = torch.cat([none, *(seeded_order(seed, k, n) for k, n in enumerate(self.lengths))])
        self.register_buffer("orders", orders, persistent=False)

    def forward(self, k: int, n: int) -> Tensor:
        if self.training:
            return torch.rand(n, device=self.orders.device).argsort()  # stays on the device, unlike a host randperm
        if k < len(self.lengths) and self.lengths[k] == n:
            return self.orders[self.starts[k] : self.starts[k] + n]
        return seeded_order(self.seed, k, n).to(self.orders.device)
