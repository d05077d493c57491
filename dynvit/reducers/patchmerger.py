"""PatchMerger: learnt queries attend to the normalised tokens (arXiv 2202.12015)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dynvit.layers.full_precision import at_least_float32
from dynvit.reduction.mixing import Mixing, Mixture


@dataclass(frozen=True)
class PatchMerger(Mixing):
    """New tokens are sums of normalised ones, so that the stream starts anew at their length."""

    name: ClassVar[str] = "patchmerger"

    def mixture(self, dim: int, clusters: int) -> Mixture:
        return Queries(dim, clusters)


class Queries(Mixture):
    """Parameters are named as in the official code."""

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__(clusters)
        self.norm = nn.LayerNorm(dim)
        self.queries = nn.Parameter(torch.randn(clusters, dim))

    def forward(self, x_BMD: Tensor) -> tuple[Tensor, Tensor]:
        z_BMD = self.norm(x_BMD)
        return at_least_float32(self.queries @ z_BMD.transpose(1, 2)).softmax(-1), z_BMD
