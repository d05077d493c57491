"""One update: a batch forward and backward, split into parts to save memory, gradients clipped, optimizer stepped."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from timm.utils import dispatch_clip_grad
from torch import Tensor, nn

from dynvit.config.classify import Config
from dynvit.config.train import Train
from dynvit.interface import interface_of
from dynvit.output import Output, labels_by
from dynvit.train.distillation import distillation_loss
from dynvit.train.evaluate import autocast
from dynvit.train.state import TrainState

CLIPPING = {"norm": "norm", "adaptive": "agc"}


def train_step(
    state: TrainState, forward: nn.Module, x_BCSS: Tensor, target: Tensor, update: int, config: Config
) -> tuple[dict[str, Tensor], Tensor]:
    """Train on one batch.

    forward: the model, or its compiled or distributed wrapper. target: classes ``[B]`` or probabilities ``[B, K]``.
    update: number of updates before this one. Returns the loss and its auxiliary terms, means over the batch, and the
    logits ``[B, K]``.
    """
    if config.train.channels_last:
        x_BCSS = x_BCSS.contiguous(memory_format=torch.channels_last)
    state.optimizer.zero_grad()
    terms: list[dict[str, Tensor]] = []
    logits: list[Tensor] = []
    parts = list(zip(*(whole.chunk(config.train.accumulate) for whole in (x_BCSS, target)), strict=True))
    for i, (x, part) in enumerate(parts):
        for model in state.models():
            interface_of(model).set_step(update)  # before each part: some models count their own calls
        with nullcontext() if i + 1 == len(parts) else _no_sync(forward):
            with autocast(x.device.type, state.amp):
                teacher_logits = None if state.teacher is None else state.teacher.logits(x)
                out = forward(x)
                with labels_by(state.label_loss):
                    output, loss = distillation_loss(out, part, teacher_logits, config)
            state.scaler.scale(loss / len(parts)).backward()
        aux = output.losses if isinstance(output, Output) else {}
        terms.append({"loss": loss.detach(), **{name: term.detach() for name, term in aux.items()}})
        logits.append((output.logits if isinstance(output, Output) else output).detach())
    _optimizer_step(state, update, config.train)
    return _mean(terms), torch.cat(logits) if len(logits) > 1 else logits[0]


def check_labels(target_B: Tensor, classes: int) -> None:
    """Raise ValueError for a label outside the classes, which on a GPU would be an unreadable error."""
    low, high = int(target_B.min()), int(target_B.max())
    if low < 0 or high >= classes:
        raise ValueError(f"labels go from {low} to {high}, but the set has {classes} classes (0 to {classes - 1})")


def _optimizer_step(state: TrainState, update: int, options: Train) -> None:
    if options.clip_grad is not None:
        state.scaler.unscale_(state.optimizer)
        dispatch_clip_grad(state.model.parameters(), options.clip_grad, CLIPPING[options.clip_mode])
    state.scaler.step(state.optimizer)
    state.scaler.update()
    interface_of(state.model).end_step()
    if state.ema is not None:
        state.ema.update(state.model, step=update + 1)


def _no_sync(forward: nn.Module) -> AbstractContextManager[None]:
    """Skip the exchange of gradients, which happens with the last part only."""
    ddp = getattr(forward, "_orig_mod", forward)
    return ddp.no_sync() if isinstance(ddp, nn.parallel.DistributedDataParallel) else nullcontext()


def _mean(terms: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(terms) == 1:
        return terms[0]
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}
