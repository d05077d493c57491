"""Sinkhorn: tokens are divided among learnt directions by optimal transport (Haurum et al., Automation in Construction
2022, as compared in arXiv 2308.04657).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.config.option_checks import check_positive
from dynvit.layers.full_precision import at_least_float32
from dynvit.reduction.mixing import Mixing, Mixture


@dataclass(frozen=True)
class Sinkhorn(Mixing):
    """New tokens are sums of tokens of length 1: their lengths are lost."""

    rounds: int = 3
    """Of balancing: tokens among directions, then directions among tokens."""
    eps: float = 1.0
    """Strength of the entropy: the smaller, the harder the assignment."""

    name: ClassVar[str] = "sinkhorn"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rounds=self.rounds, eps=self.eps)

    def mixture(self, dim: int, clusters: int) -> Mixture:
        return Transport(dim, clusters, self.rounds, self.eps)


class Transport(Mixture):
    """Parameters are named as in the official code; there `v` is replaced by its normalised self in every forward
    pass, here it is normalised on the way, so that evaluation changes nothing."""

    def __init__(self, dim: int, clusters: int, rounds: int, eps: float) -> None:
        super().__init__(clusters)
        self.rounds, self.eps = rounds, eps
        self.v = nn.Parameter(torch.randn(clusters, dim))

    def forward(self, x_BMD: Tensor) -> tuple[Tensor, Tensor]:
        z_BMD = F.normalize(at_least_float32(x_BMD), dim=-1)
        direction_CD = F.normalize(at_least_float32(self.v), dim=-1)
        logits_BCM = direction_CD @ z_BMD.transpose(1, 2) / self.eps
        for _ in range(self.rounds):  # the official constant -log(C + M) cancels
            logits_BCM = logits_BCM.log_softmax(-1).log_softmax(1)
        return logits_BCM.exp(), z_BMD
