"""SiT's token slimming: a small network says how much of each token every new one takes (arXiv 2111.12624, ECCV 2022).

As in arXiv 2308.04657, without SiT's recovery module and its distillation of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dynvit.layers.full_precision import at_least_float32
from dynvit.reduction.mixing import Mixing, Mixture


@dataclass(frozen=True)
class SiT(Mixing):
    """Softmax over the tokens of a two-layer network's outputs, one for each new token."""

    name: ClassVar[str] = "sit"

    def mixture(self, dim: int, clusters: int) -> Mixture:
        return Slimming(dim, clusters)


class Slimming(Mixture):
    """Parameters are named as in the official code."""

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__(clusters)
        hidden = dim // 2
        self.weight = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, clusters))
        self.scale = nn.Parameter(torch.ones(1, 1, 1))

    def forward(self, x_BMD: Tensor) -> tuple[Tensor, Tensor]:
        logits_BMC = at_least_float32(self.weight(x_BMD) * self.scale)
        return logits_BMC.softmax(1).transpose(1, 2), x_BMD
