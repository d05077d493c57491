"""ToFu: early blocks prune one of two similar tokens, later ones merge them and keep their length
(arXiv 2312.01026, WACV 2024).

The authors published no code. Pairs are ToMe's; the numbers of the only known code, a rewrite in PiToMe's repository,
are reached with ``norm="rewrite"``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from dynvit.reducers.tome import match, mergeable
from dynvit.reduction.counts import Plan
from dynvit.reduction.distances import lengths
from dynvit.reduction.grouping import Grouping, Places, group_mean, select
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class ToFu(Reducer):
    """Takes the r most similar pairs of every block; up to block L // 2 one of each vanishes, then they merge."""

    ratio: float = 0.925
    """Share of the tokens, prefix tokens counted, that each block keeps; at least one half."""
    norm: Literal["paper", "rewrite"] = "paper"
    """A merged token is as long as the longest that it is made of. rewrite: off by |first| / |mean|, as published."""

    name: ClassVar[str] = "tofu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 <= self.ratio <= 1:
            raise ValueError(f"ratio must lie in [0.5, 1], got {self.ratio}: a block can merge half of its tokens")

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        plan = []
        for _ in range(depth):
            tokens = patches + prefix
            patches -= mergeable(patches, math.floor(tokens - tokens * self.ratio))
            plan.append(patches)
        return tuple(plan)

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        return match(signals.unit_keys(), stream.x_BND.shape[1] - places.prefix - kept, places)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        if block <= places.depth // 2:
            return stream._replace(x_BND=select(stream.x_BND, grouping))
        assert grouping.into_BR is not None and grouping.gone_BR is not None
        y_BKD, _ = group_mean(stream.x_BND, None, grouping, places)
        length_BN = lengths(stream.x_BND)
        before_BK = length_BN.gather(1, grouping.kept_BK)
        longest_BK = before_BK.scatter_reduce(1, grouping.into_BR, length_BN.gather(1, grouping.gone_BR), "amax")
        length_BK = lengths(y_BKD) if self.norm == "paper" else before_BK
        # A token without length has nothing to stretch.
        stretch_BK = longest_BK / length_BK.clamp(min=1e-12)
        return stream._replace(x_BND=y_BKD * stretch_BK.to(y_BKD.dtype).unsqueeze(-1))
