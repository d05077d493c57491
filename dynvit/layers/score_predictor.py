"""Keep or drop: DynamicViT's predictor of a patch token's use, from the token and the mean of all live ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import trunc_normal_
from torch import Tensor, nn

Noise = Callable[[int, Tensor], Tensor]
"""Stage and log-probabilities ``[B, N, 2]`` -> Gumbel noise of that shape."""


class ScorePredictor(nn.Module):
    """Log-probabilities of keep (0) and drop (1); the official parameter names."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f"the predictor needs an embed_dim that is a multiple of 4, got {dim}")
        self.in_conv = nn.Sequential(nn.LayerNorm(dim, eps=eps), nn.Linear(dim, dim), nn.GELU())
        self.out_conv = nn.Sequential(
            nn.Linear(dim, dim // 2), nn.GELU(), nn.Linear(dim // 2, dim // 4), nn.GELU(), nn.Linear(dim // 4, 2),
            nn.LogSoftmax(dim=-1),
        )  # fmt: skip
        self.register_buffer("local_C", torch.arange(dim) < dim // 2, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x_BNC: Tensor, live_BN1: Tensor | None = None) -> Tensor:
        """``[B, N, 2]``. live_BN1: weight of each token in the mean, None where all count."""
        y_BNC = self.in_conv(x_BNC)
        return self.out_conv(torch.where(self.local_C, y_BNC, mean_of_live(y_BNC, live_BN1)))


def mean_of_live(y_BNC: Tensor, live_BN1: Tensor | None) -> Tensor:
    """``[B, 1, C]``; live_BN1: weight of each token, None where all count. Of no token it is zero, not 0 / 0."""
    if live_BN1 is None:
        return y_BNC.mean(1, keepdim=True)
    return (y_BNC * live_BN1).sum(1, keepdim=True) / live_BN1.sum(1, keepdim=True).clamp(min=1)


def hard_keep(logprob_BN2: Tensor, noise_BN2: Tensor) -> Tensor:
    """``[B, N, 1]``: 1 where keep wins with Gumbel noise added, with the gradient of the softmax (temperature 1)."""
    soft_BN2 = (logprob_BN2 + noise_BN2).softmax(-1)
    hard_BN2 = torch.zeros_like(soft_BN2).scatter_(-1, soft_BN2.argmax(-1, keepdim=True), 1.0)
    return (hard_BN2 - soft_BN2.detach() + soft_BN2)[..., :1]


def gumbel(stage: int, logprob_BN2: Tensor) -> Tensor:
    """Noise of that shape; every stage has its own draw."""
    return -torch.empty_like(logprob_BN2).exponential_().log()
