"""ToMe's bipartite matching: pairs of tokens with similar keys become one token, their mean weighted by size
(arXiv 2210.09461, ICLR 2023).

Tokens at even positions look for their best partner at the odd ones. The P prefix tokens (class, distillation,
registers) take no part and stay in front. Afterwards come the unmerged even tokens in their order, then all odd ones:
that order decides which tokens can merge in the next block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.counts import Plan
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.signals import Signals, similarity
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class ToMe(Reducer):
    """Merges the r most similar pairs of tokens in every block."""

    r: int | Sequence[int] = 8
    """Tokens that each block merges: a number, a list per block (short lists end with zeros), or a tuple
    ``(r, inflect)``; at most half of the tokens can go at a time."""
    inflect: float = 0.0
    """With a number r: -1 merges most in the first blocks and none in the last, 0 evenly, 1 the reverse."""
    proportional: bool = True
    """In attention a token counts as often as the patches it represents. Best on trained weights off the shelf; the
    authors switch it off in training."""

    name: ClassVar[str] = "tome"
    counts_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.r, tuple) and len(self.r) == 2:
            if self.inflect not in (0, self.r[1]):
                raise ValueError(
                    f"inflect is given twice: {self.inflect}, and {self.r[1]} in r {self.r}; leave one out"
                )
            vars(self).update(zip(("r", "inflect"), self.r, strict=True))
        super().__post_init__()

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        plan = []
        for r in merge_schedule(self.r, self.inflect, depth):
            patches -= mergeable(patches, r)
            plan.append(patches)
        return tuple(plan)

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        r = stream.x_BND.shape[1] - places.prefix - kept
        return match(signals.unit_keys(), r, places)

    def key_bias(self, stream: Stream) -> Tensor | None:
        return stream.log_sizes() if self.proportional else None


def mergeable(patches: int, r: int) -> int:
    """How many tokens can go: at most half of those that are not prefix."""
    return min(r, patches // 2)


def match(metric_BND: Tensor, r: int, places: Places) -> Grouping:
    """The r most similar pairs, by the cosine of what the tokens are compared by (of length 1)."""
    prefix, (even, odd) = places.prefix, places.parity()
    best_BS, partner_BS = similarity(metric_BND[:, even::2], metric_BND[:, odd::2]).max(-1)
    order_BS = top_tokens(best_BS, best_BS.shape[1])
    (B, S), T = order_BS.shape, metric_BND[:, odd::2].shape[1]
    gone_BR, stays_BU = order_BS.narrow(1, 0, r), order_BS.narrow(1, r, S - r).sort()[0]
    odd_BT = places.position_N.narrow(0, odd, 2 * T - 1)[::2].expand(B, -1)
    kept_BK = torch.cat([places.front(B), stays_BU.mul(2).add(even), odd_BT], 1)
    return Grouping(kept_BK, gone_BR.mul(2).add(even), partner_BS.gather(1, gone_BR).add(prefix + S - r))


def merge_schedule(r: int | Sequence[int], inflect: float, depth: int) -> tuple[int, ...]:
    """One number per block.

    r: a number; a list per block, 0 where it ends early; or the pair ``(r, inflect)``, a tuple as in the official
    code. inflect: -1 merges most in the first blocks, 0 evenly, 1 most in the last; the sum stays about ``r depth``.
    """
    if isinstance(r, tuple) and len(r) == 2:
        r, inflect = r
    if isinstance(r, Sequence):
        return _listed(r, inflect, depth)
    if r < 0:
        raise ValueError(f"r must not be negative, got {r}")
    if not -1 <= inflect <= 1:
        raise ValueError(f"inflect must lie in [-1, 1], got {inflect}")
    low = int(r * (1 - inflect))
    step = (2 * r - 2 * low) / (depth - 1) if depth > 1 else 0
    return tuple(int(low + step * i) for i in range(depth))


def _listed(r: Sequence[int], inflect: float, depth: int) -> tuple[int, ...]:
    if len(r) > depth:
        raise ValueError(f"r has {len(r)} entries, the model has {depth} blocks")
    if any(n < 0 for n in r):
        raise ValueError(f"r must not be negative, got {min(r)}; inflect makes a schedule rise or fall")
    if inflect:
        raise ValueError("inflect shapes a single r; a list says itself how many tokens each block merges")
    return (*(int(n) for n in r), *[0] * (depth - len(r)))
