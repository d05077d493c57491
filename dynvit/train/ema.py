"""The moving average of a model's weights (timm's), which may be what is measured in the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

if TYPE_CHECKING:
    from dynvit.tasks.classify import Train


class Average(ModelEmaV3):
    """Parameters and batch statistics, averaged. A tensor with two names (shared blocks) is averaged once."""

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        own, theirs = distinct(self.module), distinct(model)
        floating = [i for i, tensor in enumerate(own) if tensor.is_floating_point()]
        self._foreach_lerp_([own[i] for i in floating], [theirs[i] for i in floating], weight=1 - decay)
        for mine, other in zip(own, theirs, strict=True):
            if not mine.is_floating_point():
                mine.copy_(other)


def distinct(model: nn.Module) -> list[Tensor]:
    """The tensors of its state, each once, in order."""
    return list({id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}.values())


def average(model: nn.Module, options: Train) -> Average | None:
    """It begins as the model is now; the first update makes it the model's equal, then it lags behind."""
    if not options.ema:
        return None
    return Average(model, options.ema, use_warmup=options.ema_warmup)


def too_slow(options: Train, updates: int) -> str | None:
    """A word where the average still is the first weights in the end."""
    if not options.ema or options.ema_warmup or updates * (1 - options.ema) >= 1:
        return None
    memory = round(1 / (1 - options.ema))
    return (
        f"train.ema {options.ema:g} remembers {memory} updates and there are {updates}: the average stays near the "
        "first weights (train.ema_warmup, or a smaller decay)"
    )


def state(average: Average) -> dict[str, Tensor]:
    return dict(average.module.state_dict())


@torch.no_grad()
def load(average: Average, state: dict[str, Tensor]) -> None:
    average.module.load_state_dict(state)
