"""Convolutions around the tokens of a pyramid: the stem in front, the pooling between stages (SReT, section 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """3x3 convolution with bias, BatchNorm, ReLU.

    In evaluation the normalization goes into the weight, call by call: nothing is cached, so nothing can go stale.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.bn: nn.BatchNorm2d | None = nn.BatchNorm2d(outputs)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.bn is None:
            return self.conv(x_BCHW).relu_()
        if self.bn.training:
            return self.bn(self.conv(x_BCHW)).relu_()
        weight, bias = self._folded()
        return F.conv2d(x_BCHW, weight, bias, self.conv.stride, self.conv.padding).relu_()

    def _folded(self) -> tuple[Tensor, Tensor]:
        scale_C = self.bn.weight * torch.rsqrt(self.bn.running_var + self.bn.eps)
        bias_C = (self.conv.bias - self.bn.running_mean) * scale_C + self.bn.bias
        return self.conv.weight * scale_C[:, None, None, None], bias_C

    @torch.no_grad()
    def fold(self) -> None:
        """Fold the normalization for good; for inference only."""
        if self.bn is not None:
            weight, bias = self._folded()
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)
            self.bn = None


class ConvStem(nn.Sequential):
    """Three convolutions: image -> width / 2 -> width -> width channels.

    It runs channels last: with three input channels that is several times faster, and the tokens come for free.
    """

    def __init__(self, in_chans: int, width: int, strides: Sequence[int]) -> None:
        channels = (in_chans, width // 2, width, width)
        super().__init__(*[ConvNorm(channels[i], channels[i + 1], strides[i]) for i in range(3)])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if torch.is_grad_enabled() or self.training or torch.compiler.is_compiling():
            return self._map(x_BCHW)
        # The finest map is the largest tensor of the network: a quarter of the batch at a time halves the peak.
        return torch.cat([self._map(part) for part in x_BCHW.chunk(4)])

    def _map(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW.contiguous(memory_format=torch.channels_last))


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
    return x_BCHW.permute(0, 2, 3, 1).contiguous().flatten(1, 2)
