"""Halting as A-ViT does it: a token's state of halting scores, blocks without the tokens that have stopped, losses.

Tokens are ``[class, patches]``; T counts both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import Block
from torch import Tensor


@dataclass(frozen=True)
class HaltingScore:
    """A token's halting score is ``sigmoid(scale x[0] - center)`` of its first channel; it stops above 1 - eps."""

    scale: float
    center: float
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """Scores ``[...]`` of tokens ``[..., C]``, at least in float32: they add up close to 1."""
        first = x[..., 0]
        first = first if first.dtype == torch.float64 else first.float()
        return torch.sigmoid(first * self.scale - self.center)


@dataclass
class HaltingState:
    """Of tokens in whatever layout: the sum of scores and the weight left for the output.

    Where all tokens stay in place also the blocks that each ran, and what it pondered: blocks and remainder.
    """

    total: Tensor
    left: Tensor
    blocks: Tensor
    ponder: Tensor

    @classmethod
    def init(cls, tokens: Tensor) -> HaltingState:
        """For tokens ``[..., C]``."""
        zero = torch.zeros_like(tokens[..., 0], dtype=torch.promote_types(tokens.dtype, torch.float32))
        return cls(zero, zero + 1, zero.int(), zero)

    def update(self, score: Tensor, eps: float, active: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """After a block: the weight of its output, and which tokens stop with it. active: None where all are."""
        self.total = self.total + score
        stops = self.total > 1 - eps
        weight = torch.where(stops, self.left, score)
        if active is not None:
            weight = weight * active
            self.blocks = self.blocks + active
            self.ponder = self.ponder + active + torch.where(stops, weight, 0)
        self.left = self.left - torch.where(stops, 0, score)
        return weight, stops

    def select(self, index: Tensor) -> None:
        """Go on with some of the tokens of a flat layout."""
        self.total, self.left = self.total.index_select(0, index), self.left.index_select(0, index)


def masked_block(block: Block, x_BTC: Tensor, active_BT: Tensor) -> Tensor:
    """A timm block with dense shapes: stopped tokens enter as zeros and weigh nothing as keys."""
    live_BT1 = active_BT[..., None].to(x_BTC.dtype)
    bias_B11T = (live_BT1[..., 0] - 1)[:, None, None] * 1000
    x_BTC = x_BTC * live_BT1
    mixed_BTC = block.attn(block.norm1(x_BTC) * live_BT1, attn_mask=bias_B11T)
    x_BTC = x_BTC + block.drop_path1(block.ls1(mixed_BTC))
    return x_BTC + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BTC * live_BT1) * live_BT1)))


def prior(layers: int, mean: float, exact: bool) -> Tensor:
    """Normal density of deviation 1 over the layers, summing to 1; exact: its first `mean` entries sum to 0.98."""
    density_L = torch.exp(-0.5 * (torch.arange(layers, dtype=torch.float64) - mean) ** 2)
    return density_L / density_L.sum() if not exact else 0.98 * density_L / density_L[: int(mean)].sum()


def divergence(scores_BL: Tensor, prior_L: Tensor) -> Tensor:
    """``sum_l T (log T - log H) / L`` where positive, H the mean halting score of each layer over all rows."""
    mean_L = scores_BL.mean(0)
    share_L = (mean_L / mean_L.sum()).clamp(0.01, 0.99)
    prior_L = prior_L.to(share_L)
    return ((prior_L * (prior_L.log() - share_L.log())).sum() / len(prior_L)).clamp(min=0)
