"""Local structure without a position table: a depthwise convolution over the patch grid (TPC-ViT's stabilizer).

The whole grid is convolved, carried tokens included: a paused token stays as it is but still feeds its neighbours.
Zero at the start, so a pretrained backbone is unchanged.
"""

from __future__ import annotations

from typing import get_args, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.models.tpc_vit.options import TPCOptions

KINDS: tuple[str, ...] = get_args(get_type_hints(TPCOptions)["stabilizer"])


class GridConv(nn.Module):
    """Residual depthwise 3 x 3 convolution of the patch tokens, zero padding, bias, zero-initialized."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 1, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))

    def local(self, x_BNC: Tensor, grid: tuple[int, int]) -> Tensor:
        """The convolution alone. The grid is read as channels-last, which is how tokens lie in memory."""
        map_BCHW = x_BNC.unflatten(1, grid).permute(0, 3, 1, 2)
        y_BCHW = F.conv2d(map_BCHW, self.weight, self.bias, padding=1, groups=len(self.bias))
        return y_BCHW.permute(0, 2, 3, 1).flatten(1, 2)

    def forward(self, x_BTC: Tensor, grid: tuple[int, int], prefix: int = 1) -> Tensor:
        """x_BTC: `prefix` tokens (the class token), which stay as they are, then the patch tokens."""
        patches_BNC = x_BTC[:, prefix:]
        u_BNC = patches_BNC + self.local(patches_BNC, grid)  # not in place: the backward pass would copy its gradients
        return torch.cat([x_BTC[:, :prefix], u_BNC], 1) if prefix else u_BNC


def stabilizer(kind: str, widths: list[int], mlp_ratio: float) -> nn.ModuleDict:
    """The convolutions of a model by layer number; widths: channels of each layer.

    dw_pre: in front of every block; peg_once: once, in front of the second block;
    dw_mlp: inside every block, on the hidden layer of the MLP.
    """
    if kind not in KINDS:
        raise ValueError(f"stabilizer must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "off":
        return nn.ModuleDict()
    if kind == "peg_once":
        if len(widths) < 2:
            raise ValueError("stabilizer 'peg_once' comes after the first block: it needs a depth of at least 2")
        return nn.ModuleDict({"1": GridConv(widths[1])})
    scale = mlp_ratio if kind == "dw_mlp" else 1
    return nn.ModuleDict({str(layer): GridConv(int(width * scale)) for layer, width in enumerate(widths)})
