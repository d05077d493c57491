"""Number of operators in a forward pass: each is a kernel launch on a GPU, which dominates at batch 1.

Counted are the calls of functions in the graphs that ``torch.compile`` traces (``torch._dynamo.explain``): arithmetic
and indexing included, methods such as ``view`` excluded. timm's DeiT-S is 200 operators; in the finer graph of
``torch.export``, which decomposes composite operators, it would be 227.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TracedOps:
    """operators: in all graphs; breaks: graph breaks."""

    operators: int
    breaks: int


@torch.no_grad()
def trace_ops(model: nn.Module, images: Tensor) -> TracedOps:
    """Trace one call of the model with these images."""
    torch._dynamo.reset()
    try:
        found = torch._dynamo.explain(model)(images)
    finally:
        torch._dynamo.reset()
    return TracedOps(found.op_count, found.graph_break_count)
