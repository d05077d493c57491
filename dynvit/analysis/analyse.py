"""A trained model observed on images: how the importance of its tokens moves, which of them it starts again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from dynvit.analysis.importance import importance
from dynvit.analysis.layer_pairs import PAIRS, Movement
from dynvit.analysis.token_reactivation import restarted
from dynvit.profiling.macs import evaluating
from dynvit.tokens import trace_tokens


@dataclass
class Observation:
    """Per kind of score that the model has, its movement; of tokens that sat out a layer, the share that came back."""

    movements: dict[str, Movement] = field(default_factory=dict)
    restarted: float | None = None

    def metrics(self) -> dict[str, float]:
        """``returned_attention``, ..., each a mean over images and pairs of layers; ``restarted`` where any paused."""
        told = {f"{name}_{kind}": v for kind, found in self.movements.items() for name, v in found.summary().items()}
        return told if self.restarted is None else {**told, "restarted": self.restarted}

    def matrices(self) -> dict[str, float]:
        """``returned.attention.layer00.layer03``: row and column of a matrix, the earlier layer first."""
        return {
            f"{name}.{kind}.layer{l:02d}.layer{m:02d}": value
            for kind, movement in self.movements.items()
            for name in PAIRS
            for (l, m), value in movement.pairs(name).items()
        }


@torch.no_grad()
def observe(model: nn.Module, batches: Iterable[Tensor], kinds: Sequence[str], share: float) -> Observation:
    """In eval mode, gathered execution, and in the model's own precision: rounded scores would tie.

    kinds: see ``dynvit.analysis.importance``; those that the model lacks are left out.
    """
    found, back = Observation(), []
    with evaluating(model):
        for x_BCSS in batches:
            for kind in kinds:
                scores = importance(kind, model, x_BCSS)
                if scores is not None:
                    found.movements.setdefault(kind, Movement(share)).add(scores)
            back.append(_restarted(model, x_BCSS))
    back_B = torch.cat(back) if back else torch.zeros(0)
    back_B = back_B[~back_B.isnan()]
    found.restarted = float(back_B.mean()) if len(back_B) else None
    return found


def _restarted(model: nn.Module, x_BCSS: Tensor) -> Tensor:
    """Of each image; NaN where nothing paused, where grids change, and where a model has no tokens to follow."""
    with suppress(ValueError), trace_tokens(model) as trace:
        model(x_BCSS)
        if len({a_BN.shape for a_BN in trace.active}) == 1:
            return restarted([a_BN.bool() for a_BN in trace.active])
    return torch.full((len(x_BCSS),), float("nan"), dtype=torch.float64, device=x_BCSS.device)
