"""Top-K: the tokens that the class token attends to most stay, the others vanish (baseline of arXiv 2308.04657)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from dynvit.layers.token_gather import top_tokens
from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class TopK(Keeping):
    """Keeps the tokens of the largest class attention, mean over heads, in falling order."""

    name: ClassVar[str] = "topk"
    needs_class_token: ClassVar[bool] = True

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        assert signals is not None
        score_BN = signals.class_row()
        top_BK = top_tokens(score_BN[:, places.prefix :], kept) + places.prefix
        return Grouping(torch.cat([places.front(top_BK.shape[0]), top_BK], 1), score_BN=score_BN)
