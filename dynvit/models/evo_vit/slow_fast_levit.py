"""Slow-fast updating of LeViT tokens (Evo-ViT, arXiv 2108.01390, section 3.3): a group of layers on the kept tokens.

The representative of the tokens left aside runs with the kept ones; its raw residuals, summed over the group, then
update every token left aside.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.layers.token_gather import gather_tokens, scatter_tokens
from dynvit.models.evo_vit.levit import Layer
from dynvit.models.evo_vit.slow_fast import SlowFast


class SlowFastLevit(SlowFast):
    """Runs layers of `evo_vit.levit` on all or some tokens and carries the running class score ``[B, N]``.

    The model sets `drop_path_rate`, `learned_weight` and `selection`.
    """

    drop_path_rate: float
    learned_weight: bool
    selection: str

    def _layer(self, layer: Layer, x_BNC: Tensor, mask_B11N: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens after the layer, class row, and the sum of both raw branches at the last position."""
        y_BNC, row_BN = layer.attn(x_BNC, mask_B11N)
        x_BNC = x_BNC + self._drop(y_BNC)
        z_BNC = layer.mlp(x_BNC)
        return x_BNC + self._drop(z_BNC), row_BN, y_BNC[:, -1:] + z_BNC[:, -1:]

    def _drop(self, y_BNC: Tensor) -> Tensor:
        """Stochastic depth, one draw per image."""
        if not self.training or not self.drop_path_rate:
            return y_BNC
        keep = 1 - self.drop_path_rate
        return y_BNC * torch.empty(y_BNC.shape[0], 1, 1, device=y_BNC.device, dtype=y_BNC.dtype).bernoulli_(keep) / keep

    def _some(self, group: list[Layer], x_BNC: Tensor, g_BN: Tensor, kept: int, start: int) -> tuple[Tensor, Tensor]:
        """A group of layers, number `start` first, on `kept` chosen tokens and the representative of the others."""
        top_BK = self.choose(g_BN, kept, start)
        active_BN = torch.zeros_like(g_BN, dtype=torch.bool).scatter_(1, top_BK, True)
        rest_BN1 = F.pad(~active_BN, (1, 0)).unsqueeze(-1)
        if self.execution == "masked" and not self.training:
            return self._some_masked(group, x_BNC, g_BN, active_BN, rest_BN1)
        index_BK = torch.cat([torch.zeros_like(top_BK[:, :1]), top_BK + 1], 1)
        z_BKC = gather_tokens(x_BNC, index_BK)
        r_B1C = self.represent(x_BNC, g_BN, active_BN)
        if r_B1C is not None:
            z_BKC = torch.cat([z_BKC, r_B1C], 1)
        h_BK, update_B1C = g_BN.gather(1, top_BK), torch.zeros_like(x_BNC[:, :1])
        for layer in group:
            self.record(x_BNC, g_BN, active_BN)
            z_BKC, row_BK, raw_B1C = self._layer(layer, z_BKC)
            h_BK = self._evolve(h_BK, row_BK[:, :kept], layer.attn.learn_tradeoff)
            update_B1C = update_B1C + raw_B1C
            g_BN = g_BN.scatter(1, top_BK, h_BK)
        if r_B1C is not None:
            x_BNC = x_BNC + update_B1C * rest_BN1
        return scatter_tokens(x_BNC, index_BK, z_BKC[:, : kept + 1]), g_BN

    def _some_masked(
        self, group: list[Layer], x_BNC: Tensor, g_BN: Tensor, active_BN: Tensor, rest_BN1: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same with dense shapes: tokens left out are hidden as keys."""
        n = x_BNC.shape[1]
        r_B1C = self.represent(x_BNC, g_BN, active_BN)
        z_BNC = x_BNC if r_B1C is None else torch.cat([x_BNC, r_B1C], 1)
        extra = z_BNC.shape[1] - n
        rest = F.pad(rest_BN1, (0, 0, 0, extra))
        mask_B11N = torch.zeros_like(rest[..., 0], dtype=x_BNC.dtype).masked_fill(rest[..., 0], -torch.inf)[
            :, None, None
        ]
        for layer in group:
            self.record(x_BNC, g_BN, active_BN)
            new_BNC, row_BN, _ = self._layer(layer, z_BNC, mask_B11N)
            z_BNC = torch.where(rest, z_BNC, new_BNC)
            g_BN = torch.where(active_BN, self._evolve(g_BN, row_BN[:, : n - 1], layer.attn.learn_tradeoff), g_BN)
        out_BNC = z_BNC[:, :n]
        if r_B1C is not None:
            out_BNC = torch.where(rest_BN1, out_BNC + (z_BNC[:, -1:] - r_B1C), out_BNC)
        return out_BNC, g_BN

    def _subsample(self, down: Any, x_BNC: Tensor, g_BN: Tensor) -> tuple[Tensor, Tensor]:
        attention = down.attn_downsample
        x_BNC, row_BN = attention(x_BNC)
        old_B1 = g_BN.sum(1, keepdim=True)
        g_BN = self._evolve(
            g_BN.index_select(1, attention.strided), row_BN.index_select(1, attention.strided), attention.learn_tradeoff
        )
        return x_BNC + self._drop(down.mlp(x_BNC)), g_BN * (old_B1 / g_BN.sum(1, keepdim=True))

    def _evolve(self, g_BN: Tensor | None, row_BN: Tensor, tradeoff: Tensor) -> Tensor:
        """g <- (1 - t) g + t s."""
        if g_BN is None:
            return row_BN
        learned = self.learned_weight and not (self.switch_epoch and self.selection == "layer")
        t = tradeoff.sigmoid() if learned else 0.5
        return (1 - t) * g_BN + t * row_BN
