"""How many operators a forward pass consists of: each is a launch on a GPU, which is what batch 1 waits for.

Counted are the calls of functions in the graphs that ``torch.compile`` traces (``torch._dynamo.explain``): arithmetic
and indexing included, methods such as ``view`` not. timm's DeiT-S is 200 operators; in the finer graph of
``torch.export``, which takes composite operators apart, it would be 227.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Traced:
    """operators: in all graphs; breaks: places where tracing had to leave the model and start again."""

    operators: int
    breaks: int


@torch.no_grad()
def traced(model: nn.Module, images: Tensor) -> Traced:
    """What ``torch.compile`` sees of this model, as it is called here."""
    torch._dynamo.reset()
    try:
        found = torch._dynamo.explain(model)(images)
    finally:
        torch._dynamo.reset()
    return Traced(found.op_count, found.graph_break_count)
