"""Slow-fast updating of DeiT tokens (Evo-ViT, arXiv 2108.01390, section 3.3): a group of blocks on the kept tokens.

The tokens left aside keep their state, as in the official DeiT code, or follow a representative that runs with the
kept ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dynvit.layers.token_gather import gather_tokens, scatter_tokens
from dynvit.models.evo_vit.schedule import Schedule
from dynvit.models.evo_vit.slow_fast import SlowFast


class SlowFastDeit(SlowFast):
    """Runs `ScoringBlock`s on all or some tokens ``[B, 1 + N, D]`` and carries the running class score ``[B, N]``.

    The model sets `plan`. states: filled with those of all tokens after each block.
    """

    plan: Schedule

    def _block(self, i: int, x_BND: Tensor, mask_B11N: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if self.grad_checkpointing and self.training and not torch.jit.is_scripting():
            return checkpoint(self.blocks[i], x_BND, i in self.plan.scored, mask_B11N, use_reentrant=False)
        return self.blocks[i](x_BND, i in self.plan.scored, mask_B11N)

    def _all(
        self, x_BND: Tensor, g_BN: Tensor | None, start: int, end: int, states: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        for i in range(start, end):
            self.record(x_BND, g_BN)
            x_BND, row_BN = self._block(i, x_BND)
            g_BN = self._evolve(g_BN, row_BN, i)
            if states is not None:
                states.append(x_BND)
        return x_BND, g_BN

    def _some(
        self, x_BND: Tensor, g_BN: Tensor, start: int, end: int, kept: int, drop: bool, states: list[Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Blocks start..end-1 on `kept` chosen tokens; the others stay as they are (or follow a representative)."""
        top_BK = self.choose(g_BN, kept, start)
        active_BN = torch.zeros_like(g_BN, dtype=torch.bool).scatter_(1, top_BK, True)
        if self.execution == "masked" and states is None:
            return self._some_masked(x_BND, g_BN, start, end, active_BN, top_BK if drop else None)
        index_BK = torch.cat([torch.zeros_like(top_BK[:, :1]), top_BK + 1], 1)
        z_BKD = gather_tokens(x_BND, index_BK)
        r_B1D = self.represent(x_BND, g_BN, active_BN)
        if r_B1D is not None:
            z_BKD = torch.cat([z_BKD, r_B1D], 1)
        h_BK = g_BN.gather(1, top_BK)
        for i in range(start, end):
            self.record(x_BND, g_BN, active_BN)
            z_BKD, row_BK = self._block(i, z_BKD)
            h_BK = self._evolve(h_BK, None if row_BK is None else row_BK[:, :kept], i)
            if self.trace is not None:
                g_BN = g_BN.scatter(1, top_BK, h_BK)
            if states is not None:
                states.append(_spread(x_BND, index_BK, z_BKD, r_B1D, active_BN))
        out_BND = z_BKD[:, : kept + 1] if drop else _spread(x_BND, index_BK, z_BKD, r_B1D, active_BN)
        return out_BND, g_BN.scatter(1, top_BK, h_BK)

    def _some_masked(
        self, x_BND: Tensor, g_BN: Tensor, start: int, end: int, active_BN: Tensor, top_BK: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The same with dense shapes: tokens left out are hidden as keys and keep their state."""
        keep_BN1 = F.pad(active_BN, (1, 0), value=True).unsqueeze(-1)
        hide_BN = torch.zeros_like(keep_BN1[..., 0], dtype=x_BND.dtype).masked_fill(~keep_BN1[..., 0], -torch.inf)
        r_B1D = self.represent(x_BND, g_BN, active_BN)
        z_BND = x_BND
        if r_B1D is not None:
            z_BND, hide_BN = torch.cat([x_BND, r_B1D], 1), F.pad(hide_BN, (0, 1))
        for i in range(start, end):
            self.record(x_BND, g_BN, active_BN)
            new_BND, row_BN = self._block(i, z_BND, hide_BN[:, None, None])
            keep = keep_BN1 if r_B1D is None else F.pad(keep_BN1, (0, 0, 0, 1), value=True)
            z_BND = torch.where(keep, new_BND, z_BND)
            if row_BN is not None:
                g_BN = torch.where(active_BN, self._evolve(g_BN, row_BN[:, : g_BN.shape[1]], i), g_BN)
        out_BND = z_BND[:, : x_BND.shape[1]]
        if r_B1D is not None:
            out_BND = torch.where(keep_BN1, out_BND, out_BND + (z_BND[:, -1:] - r_B1D))
        if top_BK is not None:
            out_BND = gather_tokens(out_BND, torch.cat([torch.zeros_like(top_BK[:, :1]), top_BK + 1], 1))
        return out_BND, g_BN

    def _evolve(self, g_BN: Tensor | None, row_BN: Tensor | None, block: int) -> Tensor | None:
        """g <- (1 - w) g + w s: the score's memory over layers."""
        if row_BN is None:
            return g_BN
        w = self.plan.weights[block]
        return row_BN if g_BN is None or w == 1.0 else (1 - w) * g_BN + w * row_BN


def _spread(x_BND: Tensor, index_BK: Tensor, z_BKD: Tensor, r_B1D: Tensor | None, active_BN: Tensor) -> Tensor:
    """All tokens: the kept ones with their new states, the others as they were or moved as their representative was."""
    if r_B1D is not None:
        x_BND = x_BND + (z_BKD[:, -1:] - r_B1D) * F.pad(~active_BN, (1, 0)).unsqueeze(-1)
    return scatter_tokens(x_BND, index_BK, z_BKD[:, : index_BK.shape[1]])
