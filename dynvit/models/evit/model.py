"""EViT on DeiT: tokens that the class token does not attend to are fused into one (arXiv 2202.07800, ICLR 2022).

Inside the blocks at `locations`, between attention and MLP, the share `keep_rate` of the tokens stays, in training as
in evaluation. A fused token is a token like the others afterwards: it may be fused again at the next location.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import checkpoint
from torch import Tensor

from dynvit.layers.attention import attend, cls_attention
from dynvit.layers.deit import DeiT
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.layers.token_fusion import hide, keep
from dynvit.layers.token_gather import gather_tokens, scatter_tokens, top_tokens
from dynvit.models.evit.keep_rate_schedule import CosineKeepRate, kept_tokens, rates
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "evit_deit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "evit_deit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "evit_deit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}


class EViT(TokenIntermediates, DeiT):
    """EViT on DeiT; names of the backbone as in timm.

    keep_rate: share of the tokens that stay at each location, a number or one per location; 1 is the backbone itself.
    fuse_token: the others leave a sum behind, weighted by the class attention, or vanish.
    locations: the blocks that reduce, counted from 0.
    shrink_start, shrink_epochs: in training the rate is 1 until the epoch `shrink_start` and falls to `keep_rate`
        within `shrink_epochs`, along half a cosine, update by update; None is a 30th and a third of the training, the
        recipe's 10 and 100 of 300. Evaluation uses the rate of the moment, `model.keep_rates`.
    """

    def __init__(
        self,
        keep_rate: float | Sequence[float] = 0.7,
        fuse_token: bool = True,
        locations: Sequence[int] = (3, 6, 9),
        shrink_start: int | None = None,
        shrink_epochs: int | None = None,
        **backbone: Any,
    ) -> None:
        super().__init__(**backbone)
        self._final = rates(keep_rate, locations, len(self.blocks))
        self._keep_rate_schedule = CosineKeepRate(shrink_start, shrink_epochs)
        self.fuse_token, self.locations = fuse_token, tuple(locations)
        self.keep_rates = dict(self._final)
        self._epochs = self._updates_per_epoch = 0

    def set_keep_rate(self, keep_rate: float | Sequence[float]) -> None:
        """Another rate from now on, where a schedule descends to as well: a number, or one per location."""
        self._final = rates(keep_rate, self.locations, len(self.blocks))
        self.keep_rates = dict(self._final)

    def set_schedule(self, epochs: int, updates_per_epoch: int) -> None:
        self._epochs, self._updates_per_epoch = epochs, updates_per_epoch

    def set_epoch(self, epoch: float, epochs: int) -> None:
        """The rates of this epoch, counted from 0, of a training of `epochs`."""
        self.keep_rates = {
            place: self._keep_rate_schedule.rate(final, epoch, epochs) for place, final in self._final.items()
        }

    def set_step(self, step: int) -> None:
        """The rates of an update, as in the official code: between two epochs they fall with each."""
        if self._updates_per_epoch:
            self.set_epoch(step / self._updates_per_epoch, self._epochs)

    @property
    def at_final_operating_point(self) -> bool:
        return self.keep_rates == self._final

    # ---- forward

    def _features(self, images: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Normalized tokens: the class token, then what is left, in no raster order."""
        return self.norm(self._tokens(images, states))

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def _tokens(self, images: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """States, if asked for, are tokens after each block ``[B, 1 + N, D]``; one that left keeps its last."""
        x_BTD = self._pos_embed(self.patch_embed(images))
        if self.execution == "masked" and states is None:
            return self._masked(x_BTD)
        tracker = TokenTracker(x_BTD) if self.trace is not None or states is not None else None
        grid_BTD = None if states is None else x_BTD  # the first block may reduce
        for i in range(len(self.blocks)):
            active_BN = tracker.active() if tracker else None
            x_BTD, row_BM, top_BK = self._run(i, x_BTD, self._kept(i, x_BTD.shape[1] - 1))
            if tracker:
                self._record(active_BN, None if row_BM is None else tracker.raster(row_BM))
                tracker.keep(top_BK, self.fuse_token)
            if states is not None:
                states.append(tracker.update(states[-1] if states else grid_BTD, x_BTD))
        return x_BTD

    def _masked(self, x_BTD: Tensor) -> Tensor:
        N = left = x_BTD.shape[1] - 1
        alive_BT = torch.ones_like(x_BTD[..., 0], dtype=torch.bool)
        for i in range(len(self.blocks)):
            kept, active_BN = self._kept(i, left), alive_BT[:, 1 : N + 1]
            x_BTD, row_BM, alive_BT = self._run(i, x_BTD, kept, alive_BT)
            self._record(active_BN, None if row_BM is None else row_BM[:, :N])
            left = left if kept is None else kept + self.fuse_token
        return gather_tokens(x_BTD, top_tokens(alive_BT.int(), 1 + left))

    def _kept(self, block: int, tokens: int) -> int | None:
        """How many of the tokens besides the class token stay in this block; None if all do."""
        kept = kept_tokens(self.keep_rates.get(block, 1.0), tokens)
        return kept if kept < tokens else None

    def _run(
        self, i: int, x_BTD: Tensor, kept: int | None, alive_BT: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Tokens, the class row where it was needed, and which tokens stay: indices, or flags if given flags."""
        if self.grad_checkpointing and self.training:
            return checkpoint(self._block, i, x_BTD, kept, alive_BT)  # type: ignore[no-any-return]
        return self._block(i, x_BTD, kept, alive_BT)

    def _block(
        self, i: int, x_BTD: Tensor, kept: int | None, alive_BT: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        block, keys = self.blocks[i], None if alive_BT is None else alive_BT[:, None, None]
        if kept is None:
            return block(x_BTD, attn_mask=keys), None, alive_BT
        mixed_BTD, q_BHTC, k_BHTC = attend(block.attn, block.norm1(x_BTD), mask_B11N=keys)
        x_BTD = x_BTD + block.drop_path1(block.ls1(mixed_BTD))
        row_BM = cls_attention(q_BHTC, k_BHTC, keys).mean(1)[:, 1:]
        if alive_BT is None:
            x_BTD, stays = keep(x_BTD, row_BM, kept, self.fuse_token)
        else:
            x_BTD, stays = hide(x_BTD, row_BM, alive_BT, kept, self.fuse_token)
        return x_BTD + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BTD)))), row_BM, stays

    def _record(self, active_BN: Tensor, row_BN: Tensor | None) -> None:
        """The tokens that enter a block, and the class attention to them where it decides."""
        if self.trace is not None:
            self.trace.record(active_BN, row_BN)


class TokenTracker:
    """Where the tokens of a gathered pass come from: raster indices ``[B, M]``, N for a fused token."""

    def __init__(self, x_BTD: Tensor) -> None:
        self.patches = x_BTD.shape[1] - 1
        self.origin_BM = torch.arange(self.patches, device=x_BTD.device).expand(x_BTD.shape[0], -1)

    def keep(self, top_BK: Tensor | None, fused: bool) -> None:
        if top_BK is not None:
            self.origin_BM = F.pad(self.origin_BM.gather(1, top_BK), (0, int(fused)), value=self.patches)

    def raster(self, value_BM: Tensor) -> Tensor:
        """Values by token on the grid, zero where the patch has left: ``[B, N]``."""
        empty = value_BM.new_zeros(value_BM.shape[0], self.patches + 1)
        return empty.scatter(1, self.origin_BM, value_BM)[:, :-1]

    def active(self) -> Tensor:
        return self.raster(torch.ones_like(self.origin_BM, dtype=torch.bool))

    def update(self, old_BTD: Tensor, x_BTD: Tensor) -> Tensor:
        """The full grid ``[B, 1 + N, D]`` with the states of the tokens that are left."""
        place = F.pad(self.origin_BM + 1, (1, 0))
        return scatter_tokens(F.pad(old_BTD, (0, 0, 0, 1)), place, x_BTD)[:, :-1]


register(EViT, VARIANTS)
