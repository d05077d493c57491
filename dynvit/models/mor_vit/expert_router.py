"""Expert choice: at each recursion the block takes its k best tokens of those it kept before.

g = alpha sigmoid(w.h / temperature); k_r = max(1, int(c_r N)). Selection is by the logit, which orders tokens as g
does and never saturates. The class token is not routed: it is always taken and passes the plain block.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.layers.full_precision import run_at_full_precision
from dynvit.models.mor_vit.depth_router import router_net


class ExpertRouter(nn.Module):
    """One bias-free router C -> 1 per recursion of the schedule, the gates and what they are trained with."""

    def __init__(self, dim: int, routers: int, kind: str, alpha: float, temperature: float, gating: str) -> None:
        super().__init__()
        self.nets = nn.ModuleList(router_net(kind, dim, 1) for _ in range(routers))
        self.alpha, self.temperature, self.gating = alpha, temperature, gating

    def logits(self, i: int, x_BNC: Tensor) -> Tensor:
        """Logits ``[B, N]`` of the i-th router."""
        return run_at_full_precision(self.nets[i], x_BNC).squeeze(-1)

    def combine(self, before_BKC: Tensor, after_BKC: Tensor, logits_BN: Tensor) -> Tensor:
        """New state of the rows [class token, selected patches] of a recursion.

        weighted: x + g Block(x); additive: x + Block(x); replace: Block(x). The block contains its own residual.
        """
        if self.gating == "replace":
            return after_BKC
        update_BNC = after_BKC[:, 1:]
        if self.gating == "weighted":
            gate_BN1 = self.alpha * torch.sigmoid(logits_BN / self.temperature)[..., None]
            update_BNC = gate_BN1.to(update_BNC.dtype) * update_BNC
        return torch.cat([after_BKC[:, :1], before_BKC[:, 1:] + update_BNC], 1)


def capacities(capacity: float | str | Sequence[float], recursion: int) -> tuple[float, ...]:
    """The share c_r of the N patches kept at each recursion, checked."""
    if isinstance(capacity, str):
        if capacity != "linear":
            raise ValueError(f"capacity must be 'linear', a number or a list, got {capacity!r}")
        return tuple((recursion - r) / recursion for r in range(recursion))
    shares = (float(capacity),) * recursion if isinstance(capacity, int | float) else tuple(map(float, capacity))
    if len(shares) != recursion:
        raise ValueError(f"capacity lists {len(shares)} shares for {recursion} recursions")
    if not all(0 < c <= 1 for c in shares):
        raise ValueError(f"capacity must lie in (0, 1], got {capacity!r}")
    if any(later > earlier for earlier, later in itertools.pairwise(shares)):
        raise ValueError(f"capacity must not increase from one recursion to the next, got {list(shares)}")
    return shares


def kept_tokens(shares: Sequence[float], tokens: int, progress: float = 1.0) -> tuple[int, ...]:
    """k_r = max(1, int(c_r N)); progress 0 to 1 of the warm-up, which starts with every token."""
    warm = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    # 0.3 * 10 must be 3 whatever its last binary digit says
    return tuple(max(1, int((c + (1 - c) * warm) * tokens + 1e-9)) for c in shares)


def selection_loss(logits_BN: Tensor, selected_BN: Tensor) -> Tensor:
    """Binary cross entropy of "selected" from the logit, per token."""
    return F.binary_cross_entropy_with_logits(logits_BN, selected_BN.to(logits_BN.dtype), reduction="none")


def masked_mean(values_BN: Tensor, candidates_BN: Tensor | None) -> Tensor:
    """Mean over the candidates; None: over all."""
    if candidates_BN is None:
        return values_BN.mean()
    return (values_BN * candidates_BN).sum() / candidates_BN.sum()
