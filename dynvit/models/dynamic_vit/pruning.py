"""Pruning by learned scores on a timm transformer: what DynamicViT adds to its backbone, DeiT or LV-ViT.

Evaluation keeps a fixed number of tokens at each location. Training keeps all of them and masks those that a random
draw from the predictor drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import checkpoint
from torch import Tensor, nn

from dynvit.interface import DynamicModel
from dynvit.layers.full_precision import run_at_full_precision
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.layers.masked_softmax import soft_masked_block
from dynvit.layers.no_dropout import remove_idle_dropout
from dynvit.layers.score_predictor import Noise, ScorePredictor, gumbel, hard_keep
from dynvit.layers.token_gather import gather_tokens, scatter_tokens, top_tokens
from dynvit.reduction.counts import default_locations


class PruningMixin(TokenIntermediates, DynamicModel):
    """Mixin before a ``VisionTransformer``; tokens are ``[class, patches]``, T counts both."""

    static_cost = True

    def _prune(self, keep_ratio: float | Sequence[float], locations: Sequence[int] | None, eps: float) -> None:
        """Sets the plan and adds the predictors."""
        depth = len(self.blocks)
        self.locations = default_locations(depth) if locations is None else tuple(locations)
        if list(self.locations) != sorted({i for i in self.locations if 0 <= i < depth}) or not self.locations:
            raise ValueError(f"locations must be increasing block numbers below {depth}, got {self.locations}")
        self.ratios = _ratios(keep_ratio, len(self.locations))
        self.kept  # noqa: B018  (raises for a ratio that leaves nothing)
        remove_idle_dropout(self)
        self.score_predictor = nn.ModuleList([ScorePredictor(self.embed_dim, eps) for _ in self.locations])
        self.noise: Noise = gumbel

    @property
    def kept(self) -> tuple[int, ...]:
        """Tokens left after each stage, on the grid of now."""
        tokens = self.patch_embed.num_patches
        kept = tuple(int(tokens * ratio) for ratio in self.ratios)
        if not all(kept):
            raise ValueError(f"keep_ratio {self.ratios} leaves none of {tokens} tokens")
        return kept

    def _log_probabilities(self, stage: int, x_BNC: Tensor, live_BN1: Tensor | None = None) -> Tensor:
        return run_at_full_precision(self.score_predictor[stage], x_BNC, live_BN1)

    def _stages(self) -> list[tuple[int, list[nn.Module]]]:
        """Blocks that work on the same tokens, and the stage in front of them (-1: none)."""
        blocks, bounds = list(self.blocks), [0, *self.locations, len(self.blocks)]
        return [(s - 1, blocks[bounds[s] : bounds[s + 1]]) for s in range(len(bounds) - 1)]

    def _features(self, x: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Normalized tokens ``[B, 1 + K, C]`` in descending order of the last score; in training all N, raster."""
        x_BTC = self._pos_embed(self.patch_embed(x))
        if states is None and self.training:
            return self.norm(self._train_masked(x_BTC)[0])
        if states is None and self.execution == "masked":
            return self.norm(self._masked(x_BTC))
        return self.norm(self._gathered(x_BTC, states))

    def _gathered(self, x_BTC: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """states: filled with those on the grid after each block."""
        watched, grid_BTC, place_BK = self.trace is not None or states is not None, x_BTC, None
        kept, image_B1 = self.kept, torch.arange(x_BTC.shape[0], device=x_BTC.device)[:, None]
        if watched:
            place_BK = torch.arange(x_BTC.shape[1] - 1, device=x_BTC.device).expand(x_BTC.shape[0], -1)
        for stage, blocks in self._stages():
            scores_BK = None
            if stage >= 0 and kept[stage] < x_BTC.shape[1] - 1:
                patches_BKC = x_BTC[:, 1:]
                scores_BK = self._log_probabilities(stage, patches_BKC)[..., 0]
                top_BK = top_tokens(scores_BK, kept[stage])
                x_BTC = torch.cat([x_BTC[:, :1], patches_BKC[image_B1, top_BK]], 1)
            if watched:
                left_BK = place_BK if scores_BK is None else place_BK.gather(1, top_BK)
                active_BN = torch.zeros_like(x_BTC[:, :1, 0], dtype=torch.bool).repeat(1, self.patch_embed.num_patches)
                self._record(active_BN.scatter(1, left_BK, True), self._on_grid(place_BK, scores_BK), len(blocks))
                place_BK = left_BK
            for block in blocks:
                x_BTC = checkpoint(block, x_BTC) if self.grad_checkpointing and self.training else block(x_BTC)
                if states is not None:
                    grid_BTC = scatter_tokens(grid_BTC, F.pad(place_BK + 1, (1, 0)), x_BTC)
                    states.append(grid_BTC)
        return x_BTC

    def _on_grid(self, place_BK: Tensor, scores_BK: Tensor | None) -> Tensor | None:
        """Scores of the live tokens on the grid, ``-inf`` elsewhere."""
        if scores_BK is None:
            return None
        empty_BN = scores_BK.new_full((scores_BK.shape[0], self.patch_embed.num_patches), -torch.inf)
        return empty_BN.scatter(1, place_BK, scores_BK)

    def _masked(self, x_BTC: Tensor) -> Tensor:
        """Dense: dropped tokens are no keys; at the end the survivors in the order of the gathered form."""
        live_BN = torch.ones_like(x_BTC[:, 1:, 0], dtype=torch.bool)
        top_BK, hide_B11T, kept = None, None, self.kept
        for stage, blocks in self._stages():
            scores_BN, count = None, self.patch_embed.num_patches if top_BK is None else top_BK.shape[1]
            if stage >= 0 and kept[stage] < count:
                scores_BN = self._log_probabilities(stage, x_BTC[:, 1:], live_BN[..., None])[..., 0]
                scores_BN = scores_BN.masked_fill(~live_BN, -torch.inf)
                if top_BK is None:
                    top_BK = top_tokens(scores_BN, kept[stage])
                else:  # among those left and in their order, which decides between equal scores
                    top_BK = top_BK.gather(1, top_tokens(scores_BN.gather(1, top_BK), kept[stage]))
                live_BN = torch.zeros_like(live_BN).scatter(1, top_BK, True)
                hide_BN = torch.zeros_like(x_BTC[:, 1:, 0]).masked_fill(~live_BN, -torch.inf)
                hide_B11T = F.pad(hide_BN, (1, 0))[:, None, None]
            self._record(live_BN, scores_BN, len(blocks))
            for block in blocks:
                x_BTC = block(x_BTC, attn_mask=hide_B11T)
        return x_BTC if top_BK is None else gather_tokens(x_BTC, F.pad(top_BK + 1, (1, 0)))

    def _train_masked(self, x_BTC: Tensor) -> tuple[Tensor, list[Tensor]]:
        """All tokens through all blocks, and what each stage kept, ``[B, N]`` of ones and zeros with gradient."""
        live_BN1, masks = torch.ones_like(x_BTC[:, 1:, :1]), []
        for stage, blocks in self._stages():
            if stage >= 0:
                logprob_BN2 = self._log_probabilities(stage, x_BTC[:, 1:], live_BN1)
                live_BN1 = hard_keep(logprob_BN2, self.noise(stage, logprob_BN2)).to(x_BTC.dtype) * live_BN1
                masks.append(live_BN1[..., 0])
            mask_BT = F.pad(live_BN1[..., 0], (1, 0), value=1.0)
            self._record(mask_BT[:, 1:] > 0.5, None, len(blocks))
            for block in blocks:
                if self.grad_checkpointing:
                    x_BTC = checkpoint(soft_masked_block, block, x_BTC, mask_BT)
                else:
                    x_BTC = soft_masked_block(block, x_BTC, mask_BT)
        return x_BTC, masks

    def prune_intermediate_layers(self, *args: Any, **options: Any) -> list[int]:
        take = super().prune_intermediate_layers(*args, **options)
        stages = sum(place < len(self.blocks) for place in self.locations)
        self.locations, self.ratios = self.locations[:stages], self.ratios[:stages]
        self.score_predictor = self.score_predictor[:stages]
        return take

    def set_input_size(self, *args: Any, **options: Any) -> None:
        super().set_input_size(*args, **options)
        self.kept  # noqa: B018  (raises for a grid of which the ratios leave nothing)

    def _record(self, active_BN: Tensor, scores_BN: Tensor | None, blocks: int) -> None:
        """`blocks` layers into the trace; the score belongs to the first, in front of which it was made."""
        if self.trace is not None:
            for i in range(blocks):
                self.trace.record(active_BN, None if i else scores_BN)


def _ratios(keep_ratio: float | Sequence[float], stages: int) -> tuple[float, ...]:
    """Share of the original tokens after each stage: powers of one number, or as given."""
    one = not isinstance(keep_ratio, Sequence)
    ratios = tuple(keep_ratio ** (s + 1) for s in range(stages)) if one else tuple(keep_ratio)
    if len(ratios) != stages:
        raise ValueError(f"keep_ratio has {len(ratios)} entries, there are {stages} locations")
    if not all(0 < r <= 1 for r in ratios) or list(ratios) != sorted(ratios, reverse=True):
        raise ValueError(f"keep_ratio must lie in (0, 1] and not grow, got {keep_ratio}")
    return ratios
