"""What Evo-ViT's two families share: execution mode, token trace, the representative of the tokens left aside."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynvit.interface import DynamicModel


class SlowFast(DynamicModel):
    """Mixin of Evo-DeiT and Evo-LeViT; tokens are ``[class, patches in raster order]`` throughout."""

    static_cost = True

    def __init__(self, representative: Literal["none", "weighted", "mean"], **backbone: Any) -> None:
        super().__init__(**backbone)
        if representative not in ("none", "weighted", "mean"):
            raise ValueError(f'representative is "none", "weighted" or "mean", not {representative!r}')
        self.representative = representative
        self.num_prefix_tokens, self.switch_epoch = 1, 0

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Called by a training loop before each epoch, counted from 0."""
        if self.switch_epoch:
            self.set_selection("layer" if epoch < self.switch_epoch else "stage")

    @property
    def at_final_operating_point(self) -> bool:
        return not (self.switch_epoch and self.selection == "layer")

    def represent(self, x_BND: Tensor, g_BN: Tensor, active_BN: Tensor) -> Tensor | None:
        """One token for those left aside, their mean, weighted by score or plain: ``[B, 1, D]``."""
        if self.representative == "none":
            return None
        rest_BN = g_BN if self.representative == "weighted" else torch.ones_like(g_BN)
        rest_BN = rest_BN.masked_fill(active_BN, 0.0)
        weight_BN = rest_BN / rest_BN.sum(1, keepdim=True)
        return (x_BND[:, 1:] * weight_BN.unsqueeze(-1)).sum(1, keepdim=True).to(x_BND.dtype)

    def record(self, x_BND: Tensor, g_BN: Tensor | None, active_BN: Tensor | None = None) -> None:
        """One layer into the trace; without a selection all tokens are active."""
        if self.trace is not None:
            if active_BN is None:
                active_BN = torch.ones(x_BND.shape[0], x_BND.shape[1] - 1, dtype=torch.bool, device=x_BND.device)
            self.trace.record(active_BN, g_BN)

    def get_classifier(self) -> nn.Module:
        """The head that evaluation uses."""
        return self.head
