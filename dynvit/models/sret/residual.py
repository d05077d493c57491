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
            return torch.add(last(z_BNH)[..., : x_BNC.shape[-1]], x_BNC, alpha=self.folded_skip)
        if not self.learn:
            return x_BNC + self._drop(last(z_BNH))
        y_BNC = self._drop(F.linear(z_BNH, last.weight * self.branch, last.bias * self.branch))
        return torch.addcmul(y_BNC, x_BNC, self.skip)

    def _drop(self, y_BNC: Tensor) -> Tensor:
        return drop_path(y_BNC, self.drop_path_rate, self.training)

    @torch.no_grad()
    def fold_into(self, last: nn.Linear) -> nn.Linear:
        """The layer to close with from now on, the scalars in it; its outputs may be padded. For inference only."""
        if self.folded_skip is not None:
            return last
        if self.learn:
            last.weight.mul_(self.branch)
            last.bias.mul_(self.branch)
            self.folded_skip = self.skip.item()
            del self.skip, self.branch
        else:
            self.folded_skip = 1.0
        return pad_outputs(last)


@torch.no_grad()
def pad_outputs(linear: nn.Linear, multiple: int = 8) -> nn.Linear:
    """The same map with zero outputs appended up to a multiple: products of odd widths run a fifth slower."""
    missing = -linear.out_features % multiple
    if not missing:
        return linear
    padded = nn.Linear(linear.in_features, linear.out_features + missing).to(linear.weight)
    padded.weight.copy_(F.pad(linear.weight, (0, 0, 0, missing)))
    padded.bias.copy_(F.pad(linear.bias, (0, missing)))
    return padded.requires_grad_(linear.weight.requires_grad)
