"""Top-K: the tokens that the class token attends to most stay, the others vanish (baseline of arXiv 2308.04657)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.counts import Plan, check_keep, check_locations, keep_counts
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.reducer import Reducer
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class TopK(Reducer):
    """Keeps the tokens of the largest class attention, mean over heads, in falling order."""

    keep: float | Sequence[float] = 0.7
    """Share of the patches left after the first place, its square after the second, and so on, of the original count;
    or a list with a share or a count for each place."""
    locations: Sequence[int] | None = None
    """Blocks that reduce, counted from 0; not given: after each quarter of the blocks."""

    name: ClassVar[str] = "topk"
    needs_class_token: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        return keep_counts(self.keep, check_locations(self.locations, depth), patches, depth)

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        score_BN = signals.class_row()
        top_BK = top_tokens(score_BN[:, places.prefix :], kept) + places.prefix
        return Grouping(torch.cat([places.front(top_BK.shape[0]), top_BK], 1), score_BN=score_BN)
