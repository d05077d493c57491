"""EViT's reduction: the tokens that the class token attends to stay, the others are summed up in one fused token
(arXiv 2202.07800, ICLR 2022). The model with its training schedule is dynvit.models.evit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from dynvit.layers.token_fusion import fused
from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.counts import Plan, check_keep, check_locations, per_location
from dynvit.reduction.grouping import Grouping, Places, select
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class EViT(Reducer):
    """Keeps the tokens of the largest class attention, in falling order, and behind them the sum of the others weighted
    by that attention. A fused token is a token like the others afterwards."""

    keep: float | Sequence[float] = 0.7
    """Share of the present tokens, a fused one included, that each place keeps, rounded up; or a list with a share or
    a count for each place."""
    locations: Sequence[int] | None = None
    """Blocks that reduce, counted from 0; not given: after each quarter of the blocks."""
    fuse: bool = True
    """The others leave their sum behind; without it they vanish."""

    name: ClassVar[str] = "evit"
    needs_class_token: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)

    @property
    def added(self) -> int:
        return int(self.fuse)

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        plan: list[int | None] = [None] * depth
        places = check_locations(self.locations, depth)
        for place, value in zip(places, per_location(self.keep, len(places), powers=False), strict=True):
            kept = value if isinstance(value, int) else math.ceil(value * patches)
            if kept < patches:
                plan[place], patches = kept, kept + self.added
        return tuple(plan)

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        score_BN = signals.class_row()
        top_BK = top_tokens(score_BN[:, places.prefix :], kept) + places.prefix
        kept_BK = torch.cat([places.front(top_BK.shape[0]), top_BK], 1)
        return Grouping(kept_BK, added=self.added, score_BN=score_BN)

    def combine(self, stream: Stream, grouping: Grouping, block: int, places: Places) -> Stream:
        x_BKD = select(stream.x_BND, grouping)
        if grouping.added:
            assert grouping.score_BN is not None
            rest_BM = grouping.score_BN.scatter(1, grouping.kept_BK, 0.0)[:, places.prefix :]
            x_BKD = torch.cat([x_BKD, fused(stream.x_BND[:, places.prefix :], rest_BM)], 1)
        return stream._replace(x_BND=x_BKD)
