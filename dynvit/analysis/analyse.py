"""Analysis of a trained model on images: how token importance changes over layers, which tokens it reactivates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dynvit.analysis.importance import importance
from dynvit.analysis.layer_pairs import PAIRS, LayerPairs
from dynvit.analysis.token_reactivation import reactivated_share
from dynvit.macs import evaluating
from dynvit.rng import stream
from dynvit.tokens import trace_tokens

NOISE = 0.1
"""Of a noisy view, relative to the normalized image's own standard deviation of about 1."""


@dataclass
class Analysis:
    """Statistics of layer pairs for each kind of score, and the share of inactive tokens that become active again."""

    layer_pairs: dict[str, LayerPairs] = field(default_factory=dict)
    reactivated: float | None = None

    def metrics(self) -> dict[str, float]:
        """Return ``returned_attention``, ..., means over images and layer pairs; ``restarted`` if tokens paused."""
        metrics = {
            f"{name}_{kind}": v for kind, found in self.layer_pairs.items() for name, v in found.summary().items()
        }
        return metrics if self.reactivated is None else {**metrics, "restarted": self.reactivated}

    def matrices(self) -> dict[str, float]:
        """Return matrix entries by event key: ``returned.attention.layer00.layer03``, the earlier layer first."""
        return {
            f"{name}.{kind}.layer{l:02d}.layer{m:02d}": value
            for kind, pairs in self.layer_pairs.items()
            for name in PAIRS
            for (l, m), value in pairs.pairs(name).items()
        }


@torch.no_grad()
def analyse(model: nn.Module, batches: Iterable[Tensor], kinds: Sequence[str], share: float) -> Analysis:
    """Analyse in eval mode, gathered execution and the model's own precision: rounded scores would tie.

    batches: images ``[B, C, S, S]``. kinds: see ``dynvit.analysis.importance``; those that the model lacks are left
    out. share: fraction of an image's tokens that counts as lowest, and as highest.
    """
    found, shares = Analysis(), []
    with evaluating(model):
        for x_BCSS in batches:
            for kind in kinds:
                scores = importance(kind, model, x_BCSS)
                if scores is not None:
                    pairs = found.layer_pairs.setdefault(kind, LayerPairs(share))
                    pairs.add(scores)
                    pairs.add_views(*(importance(kind, model, view) or () for view in noisy_views(x_BCSS)))
            shares.append(_reactivated(model, x_BCSS))
    share_B = torch.cat(shares) if shares else torch.zeros(0)
    share_B = share_B[~share_B.isnan()]
    found.reactivated = float(share_B.mean()) if len(share_B) else None
    return found


def noisy_views(x_BCSS: Tensor) -> list[Tensor]:
    """Return the images twice, each time with other noise of standard deviation `NOISE`; always the same noise."""
    draw = stream(0, "views")
    return [x_BCSS + NOISE * torch.randn(x_BCSS.shape, generator=draw).to(x_BCSS) for _ in range(2)]


def _reactivated(model: nn.Module, x_BCSS: Tensor) -> Tensor:
    """Return shares ``[B]``; NaN if no token was inactive, if grids change, or if the model has no token trace."""
    with suppress(ValueError), trace_tokens(model) as trace:
        model(x_BCSS)
        if len({a_BN.shape for a_BN in trace.active}) == 1:
            return reactivated_share([a_BN.bool() for a_BN in trace.active])
    return torch.full((len(x_BCSS),), float("nan"), dtype=torch.float64, device=x_BCSS.device)
