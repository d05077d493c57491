"""A DeiT of 64 patches in float64 and the reduction methods built on it, with weights that make every part count."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import dynvit

SIZE = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "num_heads": 3, "num_classes": 10}


def small(name: str, **options: Any) -> Any:
    """Model of that name at the small size, in evaluation mode."""
    return randomize_weights(timm.create_model(name, **(SIZE | options))).double().eval()


def randomize_weights(model: nn.Module) -> nn.Module:
    """Weights of unit gain by a fixed seed; scales and norms away from their constant start."""
    torch.manual_seed(1)
    for name, p in model.named_parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=0.3 if "token" in name or "pos" in name else p[0].numel() ** -0.5)
        else:
            nn.init.normal_(p, mean=0.0 if name.endswith("bias") else 1.0, std=0.2)
    return model


def images(batch: int = 3, size: int = 32) -> Tensor:
    return torch.randn(batch, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def macs(name: str, **options: Any) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a model at its own size, without weights."""
    with torch.device("meta"):
        model = timm.create_model(name, **options)
    cost = dynvit.complexity(model, torch.empty(1, 3, 224, 224, device="meta"))
    return cost.params, int(cost.macs.item())


def operators(model: nn.Module, x: Tensor) -> int:
    """Functions called in one traced forward pass; a graph break is an error."""
    torch._dynamo.reset()
    with torch.no_grad():
        found = torch._dynamo.explain(model)(x)
    assert found.graph_break_count == 0
    return found.op_count
