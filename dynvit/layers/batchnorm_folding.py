"""Folding of batch normalization into the linear map next to it, exact in evaluation, at the model's own dtype."""

from __future__ import annotations

import torch
from timm.models.levit import ConvNorm, LinearNorm, NormLinear
from torch import Tensor, nn


@torch.no_grad()
def fold_batch_norms(model: nn.Module) -> None:
    """Replace every ``ConvNorm``, ``LinearNorm`` and ``NormLinear`` below a module by a plain layer, in place."""
    for name, child in model.named_children():
        if isinstance(child, ConvNorm):
            setattr(model, name, fold_conv(child.linear, child.bn))
        elif isinstance(child, LinearNorm):
            setattr(model, name, fold_linear(child.linear, child.bn))
        elif isinstance(child, NormLinear):
            setattr(model, name, fold_before(child.bn, child.linear))
        else:
            fold_batch_norms(child)


def _scale_shift(bn: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale = bn.weight / (bn.running_var + bn.eps).sqrt()
    return scale, bn.bias - bn.running_mean * scale


@torch.no_grad()
def fold_conv(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """Convolution followed by batch norm."""
    scale, shift = _scale_shift(bn)
    folded = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups
    ).to(conv.weight)
    folded.weight.copy_(conv.weight * scale[:, None, None, None])
    folded.bias.copy_(shift if conv.bias is None else conv.bias * scale + shift)
    return folded


@torch.no_grad()
def fold_linear(linear: nn.Linear, bn: nn.BatchNorm1d) -> nn.Linear:
    """Linear map followed by batch norm."""
    scale, shift = _scale_shift(bn)
    folded = nn.Linear(linear.in_features, linear.out_features).to(linear.weight)
    folded.weight.copy_(linear.weight * scale[:, None])
    folded.bias.copy_(shift if linear.bias is None else linear.bias * scale + shift)
    return folded


@torch.no_grad()
def fold_before(bn: nn.BatchNorm1d, linear: nn.Linear) -> nn.Linear:
    """Batch norm followed by a linear map."""
    scale, shift = _scale_shift(bn)
    folded = nn.Linear(linear.in_features, linear.out_features).to(linear.weight)
    folded.weight.copy_(linear.weight * scale)
    folded.bias.copy_(linear.weight @ shift + (0 if linear.bias is None else linear.bias))
    return folded
