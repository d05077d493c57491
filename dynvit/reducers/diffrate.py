"""DiffRate: in each block the tokens that the class token attends to least are pruned, and the least of the rest are
merged into the others (arXiv 2305.17997, ICCV 2023). The counts per block were learnt and are data; weights are not
touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.counts import Plan, check_keep
from dynvit.reduction.distances import lengths, most_alike
from dynvit.reduction.grouping import Grouping, Places, group_mean, select, sizes
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


class Rates(NamedTuple):
    """Tokens left by each of the two operations in each block, the class token counted."""

    prune: tuple[int, ...]
    merge: tuple[int, ...]

    def scaled(self, patches: int) -> Rates:
        """For images of so many patches; the lists are for 196."""
        return Rates(*(tuple(1 + max((count - 1) * patches // 196, 1) for count in counts) for counts in self))


SCHEDULES = {
    "deit_t_0.8": Rates(
        (197, 197, 196, 186, 166, 147, 117, 103, 92, 80, 74, 3),
        (197, 196, 190, 172, 154, 125, 107, 96, 84, 78, 70, 3),
    ),
    "deit_s_2.3": Rates(
        (197, 192, 168, 143, 121, 105, 92, 74, 62, 45, 33, 3),
        (197, 180, 156, 127, 109, 98, 80, 66, 52, 37, 31, 3),
    ),
    "deit_s_2.9": Rates(
        (197, 196, 190, 168, 150, 139, 129, 117, 99, 78, 58, 3),
        (197, 194, 176, 156, 141, 133, 121, 107, 88, 64, 56, 3),
    ),
    "deit_b_11.5": Rates(
        (197, 197, 197, 188, 170, 154, 139, 123, 107, 72, 43, 3),
        (197, 197, 192, 178, 158, 145, 127, 111, 94, 50, 35, 3),
    ),
}
"""Published counts, by model and GFLOPs (compression_rate.json of the official repository)."""


@dataclass(frozen=True)
class DiffRate(Reducer):
    """Sorts tokens by class attention in every block that reduces, drops the last, merges the next to last."""

    prune: Sequence[int] | None = None
    """Tokens that pruning leaves in each block, the class token counted; not given, with `merge`: all."""
    merge: Sequence[int] | None = None
    """Tokens that merging leaves then, the class token counted; not given, with `prune`: all."""
    schedule: Literal["deit_t_0.8", "deit_s_2.3", "deit_s_2.9", "deit_b_11.5"] | None = None
    """Published counts of both, by the model they were learnt for and its GFLOPs; scaled to the image's patches."""
    keep: float | None = None
    """For models without published counts: the share of the patches that a block behind the last would keep, reached
    geometrically, by pruning alone; 0.35 if nothing else is given."""

    name: ClassVar[str] = "diffrate"
    needs_class_token: ClassVar[bool] = True
    counts_sizes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [self.prune is not None or self.merge is not None, self.schedule is not None, self.keep is not None]
        if sum(given) > 1:
            raise ValueError("give counts (prune, merge), a schedule or keep, not two of them")
        check_keep(1.0 if self.keep is None else self.keep)
        for name, counts in (("prune", self.prune), ("merge", self.merge)):
            if counts is not None and min(counts, default=2) < 2:
                raise ValueError(f"{name} counts the class token and must leave another, got {min(counts)}")

    def rates(self, patches: int, depth: int) -> Rates:
        """The counts of both operations; ValueError for another number of blocks."""
        if self.schedule is not None:
            rates = SCHEDULES[self.schedule].scaled(patches)
        elif self.prune is not None or self.merge is not None:
            everything = (1 + patches,) * depth
            rates = Rates(*(tuple(everything if counts is None else counts) for counts in (self.prune, self.merge)))
        else:
            keep = 0.35 if self.keep is None else self.keep
            counts = tuple(1 + max(int(patches * keep ** (block / depth)), 1) for block in range(depth))
            rates = Rates(counts, counts)
        for name, counts in zip(Rates._fields, rates, strict=True):
            if len(counts) != depth:
                raise ValueError(f"{name} has {len(counts)} counts, the model has {depth} blocks")
        return rates

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        return tuple(min(pair) - 1 for pair in zip(*self.rates(patches, depth), strict=True))

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        P, score_BN = places.prefix, signals.class_row()
        left = min(self.rates(places.patches, places.depth).prune[block] - 1, score_BN.shape[1] - P)
        order_BS = top_tokens(score_BN[:, P:], left) + P
        stays_BK, gone_BR = order_BS[:, :kept], order_BS[:, kept:]
        kept_BK = torch.cat([places.front(order_BS.shape[0]), stays_BK], 1)
        if left == kept:
            return Grouping(kept_BK, score_BN=score_BN)
        x_BND = stream.x_BND.detach()
        cosine_BR, into_BR = most_alike(x_BND, lengths(x_BND).clamp(min=1e-12), gone_BR, stays_BK)
        # Officially a negative cosine lowers the size, even below 0, of which the next block takes the logarithm.
        return Grouping(kept_BK, gone_BR, into_BR + P, cosine_BR.clamp(min=0), score_BN=score_BN)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        """Plain means; a token that was merged adds to the size by its cosine."""
        size_BK = sizes(stream.size_BN, stream.x_BND, grouping)
        if grouping.gone_BR is None:
            return stream._replace(x_BND=select(stream.x_BND, grouping), size_BN=size_BK)
        x_BKD, _ = group_mean(stream.x_BND, None, grouping._replace(weight_BR=None), places)
        return stream._replace(x_BND=x_BKD, size_BN=size_BK)

    def key_bias(self, stream: Stream) -> Tensor | None:
        return stream.log_sizes()
