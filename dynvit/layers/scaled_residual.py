"""Residual connection with a learnable scalar on either branch: ``x <- skip * x + branch * linear(z)``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import drop_path
from torch import Tensor, nn


class ScaledResidual(nn.Module):
    """Closes a branch with its last linear layer.

    The branch scalar goes into that layer's weight, not over its output: the same product, but no pass over
    all tokens and nothing more to keep for the backward pass. ``fold_into`` makes that permanent for deployment.
    """

    def __init__(self, learn: bool = True, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.learn = learn
        self.drop_path_rate = drop_path_rate
        self.folded_skip: float | None = None
        if learn:
            self.skip = nn.Parameter(torch.ones(1))
            self.branch = nn.Parameter(torch.ones(1))

    def forward(self, x_BNC: Tensor, z_BNH: Tensor, last: nn.Linear) -> Tensor:
        if self.folded_skip is not None:
            return torch.add(last(z_BNH), x_BNC, alpha=self.folded_skip)
        if not self.learn:
            return x_BNC + self._drop(last(z_BNH))
        y_BNC = self._drop(F.linear(z_BNH, last.weight * self.branch, last.bias * self.branch))
        return torch.addcmul(y_BNC, x_BNC, self.skip)

    def _drop(self, y_BNC: Tensor) -> Tensor:
        return drop_path(y_BNC, self.drop_path_rate, self.training)

    @torch.no_grad()
    def fold_into(self, last: nn.Linear) -> None:
        """Fold the scalars into `last` and a constant; for inference only."""
        if self.learn and self.folded_skip is None:
            last.weight.mul_(self.branch)
            last.bias.mul_(self.branch)
            self.folded_skip = self.skip.item()
            del self.skip, self.branch
