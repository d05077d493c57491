"""What Evo-ViT's two families share: choice of tokens, token trace, the representative of the tokens left aside."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynvit.interface import DynamicModel
from dynvit.layers.token_gather import random_orders, top_tokens


class SlowFast(DynamicModel):
    """Mixin of Evo-DeiT and Evo-LeViT; tokens are ``[class, patches in raster order]`` throughout."""

    static_cost = True
    added_options = ("ranking",)

    def __init__(
        self,
        representative: Literal["none", "weighted", "mean"],
        ranking: Literal["class", "random"],
        **backbone: Any,
    ) -> None:
        super().__init__(**backbone)
        if representative not in ("none", "weighted", "mean"):
            raise ValueError(f'representative is "none", "weighted" or "mean", not {representative!r}')
        if ranking not in ("class", "random"):
            raise ValueError(f'ranking is "class" or "random", not {ranking!r}')
        self.representative, self.ranking = representative, ranking
        self.num_prefix_tokens, self.switch_epoch = 1, 0

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Called by a training loop before each epoch, counted from 0."""
        if self.switch_epoch:
            self.set_selection("layer" if epoch < self.switch_epoch else "stage")

    @property
    def at_final_operating_point(self) -> bool:
        return not (self.switch_epoch and self.selection == "layer")

    def draw(self, layers: int, tokens: int) -> None:
        """Draw the fixed priorities of ranking "random" in evaluation: an order of so many tokens at each layer."""
        if self.ranking == "random":
            order_LN = random_orders(layers, tokens).to(self.cls_token.device)
            self.register_buffer("order_LN", order_LN, persistent=False)

    def choose(self, g_BN: Tensor, kept: int, layer: int) -> Tensor:
        """The tokens ``[B, kept]`` that are processed from the layer on: of the highest score, or random ones."""
        g_BN = g_BN.detach()
        if self.ranking == "random":
            g_BN = torch.rand_like(g_BN) if self.training else self.order_LN[layer, : g_BN.shape[1]].expand_as(g_BN)
        return top_tokens(g_BN, kept)

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
