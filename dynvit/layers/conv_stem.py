"""Convolutions around the tokens of a pyramid: the stem in front, the pooling between stages (SReT, section 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Module):
    """3x3 convolution with bias, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.bn: nn.BatchNorm2d | None = nn.BatchNorm2d(outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y_BCHW = self.conv(x_BCHW)
        if self.bn is not None:
            y_BCHW = self.bn(y_BCHW)
        return y_BCHW.relu_()

    def fold(self) -> None:
        """Fold the normalisation into the convolution; for inference only."""
        if self.bn is not None:
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = None


class ConvStem(nn.Sequential):
    """Three convolutions: image -> width / 2 -> width -> width channels."""

    def __init__(self, in_chans: int, width: int, strides: Sequence[int]) -> None:
        channels = (in_chans, width // 2, width, width)
        super().__init__(*[ConvNorm(channels[i], channels[i + 1], strides[i]) for i in range(3)])


class TokenPool(nn.Module):
    """Halves the grid and doubles the channels by a depthwise 3x3 convolution of stride 2 (as in PiT)."""

    def __init__(self, width: int, wider: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, wider, 3, stride=2, padding=1, groups=width)

    def forward(self, x_BNC: Tensor, grid: tuple[int, int]) -> Tensor:
        """``[B, N, C]`` on a grid -> ``[B, N / 4, 2C]``; the map is a channels-last view of the tokens."""
        return tokens_of(self.conv(map_of(x_BNC, grid)))


def map_of(x_BNC: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens in raster order -> ``[B, C, H, W]``, a view."""
    return x_BNC.unflatten(1, grid).permute(0, 3, 1, 2)


def tokens_of(x_BCHW: Tensor) -> Tensor:
    """``[B, C, H, W]`` -> contiguous tokens ``[B, N, C]`` in raster order; no copy of a channels-last map."""
    return x_BCHW.permute(0, 2, 3, 1).contiguous(memory_format=torch.contiguous_format).flatten(1, 2)
