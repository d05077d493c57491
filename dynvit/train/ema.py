"""Exponential moving average of a model's weights."""

from __future__ import annotations

from timm.utils import ModelEmaV3
from torch import Tensor, nn

from dynvit.config.train import Train


class ModelEma(ModelEmaV3):
    """timm's average of parameters and buffers; a tensor with two names (shared blocks) is averaged once."""

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        own, theirs = unique_tensors(self.module), unique_tensors(model)
        floating = [i for i, tensor in enumerate(own) if tensor.is_floating_point()]
        self._foreach_lerp_([own[i] for i in floating], [theirs[i] for i in floating], weight=1 - decay)
        for mine, other in zip(own, theirs, strict=True):
            if not mine.is_floating_point():
                mine.copy_(other)


def unique_tensors(model: nn.Module) -> list[Tensor]:
    """Return the tensors of its state, each once, in order."""
    return list({id(tensor): tensor for tensor in model.state_dict(keep_vars=True).values()}.values())


def build_ema(model: nn.Module, options: Train) -> ModelEma | None:
    """Copy the model; the first update sets the copy to the model's weights, later ones average."""
    if not options.ema:
        return None
    return ModelEma(model, options.ema, use_warmup=options.ema_warmup)


def ema_warning(options: Train, updates: int) -> str | None:
    """Return a warning if the average is still close to the initial weights after all updates."""
    if not options.ema or options.ema_warmup or updates * (1 - options.ema) >= 1:
        return None
    memory = round(1 / (1 - options.ema))
    return (
        f"train.ema {options.ema:g} averages over {memory} updates and there are {updates}: the average stays near the "
        "initial weights (set train.ema_warmup, or a smaller decay)"
    )
