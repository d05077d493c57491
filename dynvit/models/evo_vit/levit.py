"""LeViT layers for a token sequence with a class token: attention without position bias, subsampling, feed-forward.

Every linear map is followed by batch normalization over batch and tokens (timm's ``LinearNorm``); module names are
timm's, so a LeViT's weights load as they are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from timm.models.levit import ConvNorm, LinearNorm
from torch import Tensor, nn

from dynvit.layers.attention import cls_attention


def stem(in_chans: int, dim: int, strides: Sequence[int]) -> nn.Sequential:
    """Four 3x3 convolutions with batch norm, Hardswish between them: C1/8, C1/4, C1/2, C1 channels."""
    widths = [in_chans, dim // 8, dim // 4, dim // 2, dim]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, stride in enumerate(strides):
        layers[f"conv{i + 1}"] = ConvNorm(widths[i], widths[i + 1], 3, stride, 1)
        if i < 3:
            layers[f"act{i + 1}"] = nn.Hardswish()
    return nn.Sequential(layers)


def _activated(dim: int, out_dim: int, gain: float) -> nn.Sequential:
    return nn.Sequential(OrderedDict(act=nn.Hardswish(), ln=LinearNorm(dim, out_dim, bn_weight_init=gain)))


class Attention(nn.Module):
    """Returns the output ``[B, N, C]`` and the class row, mean over heads, ``[B, N - 1]``."""

    def __init__(self, dim: int, key_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.key_dim, self.scale = num_heads, key_dim, key_dim**-0.5
        self.qkv = LinearNorm(dim, 4 * key_dim * num_heads)
        self.proj = _activated(2 * key_dim * num_heads, dim, 0.0)
        self.learn_tradeoff = nn.Parameter(torch.zeros(1))

    def forward(self, x_BNC: Tensor, mask_B11N: Tensor | None = None) -> tuple[Tensor, Tensor]:
        B, N, _ = x_BNC.shape
        d = self.key_dim
        q, k, v = self.qkv(x_BNC).view(B, N, self.num_heads, -1).transpose(1, 2).split([d, d, 2 * d], dim=3)
        logits = (q * self.scale) @ k.transpose(2, 3)
        if mask_B11N is not None:
            logits = logits + mask_B11N
        a_BHNN = logits.softmax(-1)
        del logits  # the largest tensors go as soon as they are read
        y_BNC = (a_BHNN @ v).transpose(1, 2).reshape(B, N, -1)
        del a_BHNN
        return self.proj(y_BNC), cls_attention(q, k, mask_B11N).mean(1)[:, 1:]


class Subsample(nn.Module):
    """Attention of the class token and every second row and column to all tokens; no residual."""

    def __init__(self, dim: int, out_dim: int, key_dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads, self.key_dim, self.scale = dim // key_dim, key_dim, key_dim**-0.5
        self.kv = LinearNorm(dim, 5 * key_dim * self.num_heads)
        self.q = nn.Sequential(OrderedDict(ln=LinearNorm(dim, key_dim * self.num_heads)))
        self.proj = _activated(4 * key_dim * self.num_heads, out_dim, 1.0)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1] + 1, dim))
        self.learn_tradeoff = nn.Parameter(torch.zeros(1))
        self.set_grid(grid)

    def set_grid(self, grid: tuple[int, int]) -> None:
        """Set the grid of the old tokens, of which every second row and column remains."""
        rows, columns = (torch.arange(0, side, 2, device=self.pos_embed.device) for side in grid)
        strided = (rows[:, None] * grid[1] + columns).flatten()
        self.register_buffer("strided", strided, persistent=False)
        self.register_buffer("queries", torch.cat([strided.new_zeros(1), strided + 1]), persistent=False)

    def forward(self, x_BNC: Tensor) -> tuple[Tensor, Tensor]:
        """Returns ``[B, 1 + n', C_out]`` and the class row over the OLD tokens ``[B, n]``, mean over heads."""
        x_BNC = x_BNC + self.pos_embed
        B, N, _ = x_BNC.shape
        k, v = self.kv(x_BNC).view(B, N, self.num_heads, -1).transpose(1, 2).split([self.key_dim, 4 * self.key_dim], 3)
        q = self.q(x_BNC.index_select(1, self.queries)).view(B, -1, self.num_heads, self.key_dim).transpose(1, 2)
        a_BHQN = ((q * self.scale) @ k.transpose(2, 3)).softmax(-1)
        y_BQC = (a_BHQN @ v).transpose(1, 2).reshape(B, q.shape[2], -1)
        del a_BHQN
        return self.proj(y_BQC), cls_attention(q, k).mean(1)[:, 1:]


class FeedForward(nn.Module):
    """Linear to twice the width, Hardswish, linear back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.ln1, self.act, self.ln2 = LinearNorm(dim, 2 * dim), nn.Hardswish(), LinearNorm(2 * dim, dim, 0.0)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.ln2(self.act(self.ln1(x_BNC)))


class Layer(nn.Module):
    """Attention and feed-forward, both residual; the caller adds them up."""

    def __init__(self, dim: int, key_dim: int, num_heads: int) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(dim, key_dim, num_heads), FeedForward(dim)


class Stage(nn.Module):
    """Layers on one grid; all but the first stage begin with subsampling and a feed-forward."""

    def __init__(
        self, dim: int, key_dim: int, num_heads: int, depth: int, before: int | None, grid: tuple[int, int]
    ) -> None:  # fmt: skip
        super().__init__()
        self.downsample = None
        if before is not None:
            self.downsample = nn.Module()
            self.downsample.attn_downsample = Subsample(before, dim, key_dim, grid)
            self.downsample.mlp = FeedForward(dim)
        self.blocks = nn.ModuleList([Layer(dim, key_dim, num_heads) for _ in range(depth)])
