"""Convolutional stem of LV-ViT: three convolutions with BatchNorm, then a patch projection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import to_2tuple
from torch import Tensor, nn


class LVStem(nn.Module):
    """``[B, C, H, W]`` to tokens ``[B, N, D]``; the last stride is also the kernel of the projection.

    In evaluation the normalization goes into the weights, call by call, so nothing can go stale. It runs channels
    last, which is faster with three input channels and leaves the tokens in place.
    """

    def __init__(
        self, img_size: int | tuple[int, int], in_chans: int, embed_dim: int, width: int, strides: Sequence[int],
        **_: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(strides) != 4 or any(s < 1 for s in strides):
            raise ValueError(f"stem_strides are four positive numbers, got {tuple(strides)}")
        self.strides = tuple(strides)
        self.set_input_size(img_size)
        channels, kernels = (in_chans, width, width, width), (7, 3, 3)
        for i in range(3):
            conv = nn.Conv2d(channels[i], width, kernels[i], strides[i], kernels[i] // 2, bias=False)
            self.add_module(f"conv{i + 1}", conv)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(width))
        self.proj = nn.Conv2d(width, embed_dim, strides[3], strides[3])

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Set the size of the images, and with it the grid; the stem stays as it is."""
        if patch_size is not None:
            raise ValueError("LV-ViT's patches follow from stem_strides: patch_size cannot be set")
        size = self.img_size if img_size is None else to_2tuple(img_size)
        grid = tuple(_grid(n, self.strides) for n in size)
        if not math.prod(grid):
            raise ValueError(f"img_size {size} leaves no token with stem_strides {self.strides}")
        self.img_size, self.grid_size, self.num_patches = tuple(size), grid, math.prod(grid)

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        ratio = math.prod(self.strides)
        return ratio if as_scalar else (ratio, ratio)

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        return _grid(img_size[0], self.strides), _grid(img_size[1], self.strides)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if tuple(x_BCHW.shape[-2:]) != self.img_size:
            raise ValueError(f"the model takes images of {self.img_size}, got {tuple(x_BCHW.shape[-2:])}")
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x_BCHW = F.relu(_normalized(x_BCHW, conv, norm))
        return self.proj(x_BCHW).flatten(2).transpose(1, 2)


def _normalized(x_BCHW: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    if norm.training:
        return norm(conv(x_BCHW))
    scale_C = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight, bias_C = conv.weight * scale_C[:, None, None, None], norm.bias - norm.running_mean * scale_C
    return F.conv2d(x_BCHW, weight, bias_C, conv.stride, conv.padding)


def _grid(pixels: int, strides: Sequence[int]) -> int:
    """Tokens along one side: convolutions round up, the projection down."""
    for stride in strides[:3]:
        pixels = -(-pixels // stride)
    return pixels // strides[3]
