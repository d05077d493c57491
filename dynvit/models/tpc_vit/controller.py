"""The token propagation controller: from token states to who is active in the next layer (TPC-ViT, reconstructed).

It is independent of the backbone: ``select`` is called before a block, ``observe`` with the new states after it.
One controller serves layers of one width on one grid (a whole DeiT, or one stage of Swin).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.layers.full_precision import autocast_off
from dynvit.layers.token_gather import random_orders
from dynvit.models.tpc_vit.markov_chain import (
    advance,
    break_probability,
    index_to_mask,
    merged,
    topk_indices,
    topk_mask,
)
from dynvit.models.tpc_vit.options import TPCOptions
from dynvit.models.tpc_vit.smoothing import Blur


@dataclass
class PropagationState:
    """One forward pass of one controller: what is known before the layer `layer`."""

    pi_BN: Tensor
    """Probability of being active in that layer."""
    offset_LS: Tensor
    blur: Blur | None
    grid: tuple[int, int]
    layer: int = 0
    active_BN: Tensor | None = None
    """Tokens active in the layer before; None: all."""
    smooth_BSN: Tensor | None = None
    """Probabilities of the layer before, for the average over depth."""
    relative_attention_BN: Tensor | None = None
    """Attention that the token got, relative to the mean, from the last layer in which it was active."""
    broken_BN: Tensor | None = None
    """Sum of the break probabilities so far."""
    pis: list[Tensor] = field(default_factory=list)
    breaks: list[Tensor] = field(default_factory=list)
    """Mean over images and tokens, per layer."""


@dataclass(frozen=True)
class TokenSelection:
    """Patch tokens active in a layer: flags, or None for all; equal counts also as indices in raster order."""

    active_BN: Tensor | None = None
    index_BK: Tensor | None = None


class Controller(nn.Module):
    """Pause and restart probabilities of every patch token after every layer, and the selection they lead to."""

    def __init__(self, depth: int, width: int, options: TPCOptions) -> None:
        super().__init__()
        self.depth, self.options = depth, options
        kinds = 2 if options.restart else 1
        if options.score == "channel" and width < kinds:
            raise ValueError(f"score 'channel' reads {kinds} channels, the tokens have {width}")
        self.pause_shift = nn.Parameter(torch.zeros(depth))
        self.restart_shift = nn.Parameter(torch.zeros(depth)) if options.restart else None
        if options.score == "linear":
            self.score_weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(depth, kinds, width), std=0.02))

        self.register_buffer("order_LN", torch.zeros(depth, 0, dtype=torch.int64), persistent=False)

    def draw(self, tokens: int) -> None:
        """Draw the priorities of pause "random" in evaluation: a fixed order of so many tokens in each layer."""
        self.order_LN = random_orders(self.depth, tokens).to(self.order_LN.device)

    @property
    def reads_attention(self) -> bool:
        """Whether ``observe`` needs attention: the class token's row, or what each token got where there is none."""
        return self.options.score == "cls_attention"

    @property
    def remembers(self) -> bool:
        """Whether something of the last layer of a grid matters for the next grid."""
        return self.options.terminate or (self.options.spatial and self.options.depth_ema > 0)

    def start(
        self, batch: int, grid: tuple[int, int], like: Tensor, before: PropagationState | None = None
    ) -> PropagationState:
        """All tokens active; `like` gives device and precision (at least float32).

        before: the chain on the grid of twice the side, if any; a merged token has the mean of its four probabilities
        and sums, but is a new token and active at first.
        """
        options = self.options
        like = like.new_empty((), dtype=torch.promote_types(like.dtype, torch.float32))
        offset_LS = (self.pause_shift + options.pause_offset)[:, None]
        if self.restart_shift is not None:
            offset_LS = torch.stack([offset_LS[:, 0], self.restart_shift + options.restart_offset], 1)
        blur = Blur(grid, options.smooth_strength, options.smooth_sigma, like) if options.spatial else None
        chain = PropagationState(like.new_ones(batch, grid[0] * grid[1]), offset_LS.to(like.dtype), blur, grid)
        if before is not None and before.smooth_BSN is not None:
            chain.smooth_BSN = merged(before.smooth_BSN, before.grid)
        if before is not None and before.broken_BN is not None:
            chain.broken_BN = merged(before.broken_BN[:, None], before.grid)[:, 0]
        return chain

    def select(self, chain: PropagationState, full_attention: Callable[[], Tensor] | None = None) -> TokenSelection:
        """Return the tokens active in the chain's next layer.

        full_attention: for pause "attention", the class attention of this very layer over all tokens, ``[B, N]``.
        """
        chain.pis.append(chain.pi_BN)
        selection = self._select(chain, full_attention) if chain.layer else TokenSelection()
        chain.active_BN = selection.active_BN
        return selection

    def _select(self, chain: PropagationState, full_attention: Callable[[], Tensor] | None) -> TokenSelection:
        options, tokens = self.options, chain.pi_BN.shape[1]
        count = self._count(tokens)
        if count == tokens:
            return TokenSelection()
        if count is not None:
            index_BK = topk_indices(self._priority(chain, full_attention), count)
            return TokenSelection(index_to_mask(index_BK, tokens), index_BK)
        active_BN = chain.pi_BN.detach() >= options.threshold
        if active_BN.device.type == "cpu" and not torch.compiler.is_compiling() and active_BN.all():
            return TokenSelection()  # on other devices this check would be a synchronization
        if options.pause is not True:
            active_BN = topk_mask(self._priority(chain, full_attention), active_BN.sum(1))
        return TokenSelection(active_BN)

    def _count(self, tokens: int) -> int | None:
        """An exact count in evaluation; in training the gate is the threshold and the budget loss sets the rate."""
        if self.options.keep_rate is None or self.training:
            return None
        return round(self.options.keep_rate * tokens)

    def _priority(self, chain: PropagationState, full_attention: Callable[[], Tensor] | None) -> Tensor:
        """Tokens that may not come back rank last: terminated ones, and paused ones if there is no restart."""
        options, pi_BN = self.options, chain.pi_BN.detach()
        if options.pause == "random":
            priority_BN = (
                torch.rand_like(pi_BN) if self.training else self.order_LN[chain.layer].expand_as(pi_BN).to(pi_BN)
            )
        elif options.pause == "attention":
            if full_attention is None:
                raise ValueError("pause 'attention' needs the class attention of the layer")
            priority_BN = full_attention().to(pi_BN.dtype)
        else:
            priority_BN = pi_BN
        if not options.restart and chain.active_BN is not None:
            priority_BN = priority_BN.masked_fill(~chain.active_BN, -torch.inf)
        if chain.broken_BN is not None:
            priority_BN = priority_BN.masked_fill(chain.broken_BN >= 1 - options.eps, -torch.inf)
        return priority_BN

    def observe(self, chain: PropagationState, x_BNC: Tensor, row_BN: Tensor | None = None) -> None:
        """Update the chain with the patch tokens after the layer, and the attention row where it is the score."""
        p_BN, r_BN = self._probabilities(chain, x_BNC, row_BN)
        b_BN = break_probability(p_BN, r_BN)
        chain.breaks.append(b_BN.mean())
        pi_BN = advance(chain.pi_BN, b_BN, r_BN)
        if self.options.terminate:
            broken = 0 if chain.broken_BN is None else chain.broken_BN
            chain.broken_BN = broken + b_BN.detach()
            pi_BN = torch.where(chain.broken_BN < 1 - self.options.eps, pi_BN, 0)
        chain.pi_BN = pi_BN
        chain.layer += 1

    def _probabilities(self, chain: PropagationState, x_BNC: Tensor, row_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        options, offset_S = self.options, chain.offset_LS[chain.layer]
        with autocast_off(x_BNC):
            score_BNS = self._score(chain, x_BNC, row_BN).to(offset_S.dtype)
            smooth_BSN = (options.score_scale * score_BNS + offset_S).sigmoid().transpose(1, 2)
            if chain.blur is not None:
                smooth_BSN = chain.blur(smooth_BSN)
                if options.depth_ema and chain.smooth_BSN is not None:
                    smooth_BSN = smooth_BSN.lerp(chain.smooth_BSN, options.depth_ema)
        chain.smooth_BSN = smooth_BSN
        p_BN = smooth_BSN[:, 0]
        return p_BN, smooth_BSN[:, 1] if options.restart else torch.zeros_like(p_BN)

    def _score(self, chain: PropagationState, x_BNC: Tensor, row_BN: Tensor | None) -> Tensor:
        """Logits before scale and offset ``[B, N, S]``, S = 2 (pause, restart) or 1 (pause)."""
        kinds = chain.offset_LS.shape[1]
        if self.options.score == "channel":
            return x_BNC[..., :kinds]
        if self.options.score == "linear":
            return F.linear(x_BNC.to(self.score_weight.dtype), self.score_weight[chain.layer])
        if row_BN is None:
            raise ValueError("score 'cls_attention' needs the class attention row")
        chain.relative_attention_BN = _relative_attention(
            row_BN.to(chain.pi_BN.dtype), chain.active_BN, chain.relative_attention_BN
        )
        return torch.stack([-chain.relative_attention_BN, chain.relative_attention_BN][:kinds], -1)


def _relative_attention(row_BN: Tensor, active_BN: Tensor | None, before_BN: Tensor | None) -> Tensor:
    """Attention over its mean among active tokens, minus 1; a paused token keeps its last value."""
    if active_BN is None:
        return row_BN / row_BN.mean(1, keepdim=True).clamp_min(1e-12) - 1
    mean_B1 = (row_BN * active_BN).sum(1, keepdim=True) / active_BN.sum(1, keepdim=True).clamp_min(1)
    return torch.where(active_BN, row_BN / mean_B1.clamp_min(1e-12) - 1, before_BN)
