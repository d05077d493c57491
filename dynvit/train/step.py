"""One update: a batch forward and backward, in parts where memory is short, gradients clipped, weights moved."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import dispatch_clip_grad
from torch import Tensor, nn

from dynvit.output import Output
from dynvit.train.distillation import learned
from dynvit.train.evaluate import autocast

if TYPE_CHECKING:
    from dynvit.train.training import Training

CLIPPING = {"norm": "norm", "adaptive": "agc"}


class Step:
    """Made once the model has its final place and form; called for every batch."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.parallel = training.together.wrapped(training.model)
        self.forward = torch.compile(self.parallel) if training.config.train.compile else self.parallel
        self.scheduled = [m for m in training.models() if hasattr(m, "set_step")]

    def __call__(self, x_BCSS: Tensor, target_B: Tensor, update: int) -> tuple[dict[str, Tensor], Tensor]:
        """The loss and its auxiliary terms, means over the batch, and the logits; target: ``[B]`` or ``[B, K]``."""
        training, parts = self.training, self.training.config.train.accumulate
        if training.config.train.channels_last:
            x_BCSS = x_BCSS.contiguous(memory_format=torch.channels_last)
        training.optimizer.zero_grad()
        terms: list[dict[str, Tensor]] = []
        logits: list[Tensor] = []
        for i, (x, target) in enumerate(zip(x_BCSS.chunk(parts), target_B.chunk(parts), strict=True)):
            for model in self.scheduled:  # before each part: such models count their own calls
                model.set_step(update)
            with self._alone(i + 1 < parts):
                output, loss = self._loss(x, target)
                training.scaler.scale(loss / parts).backward()
            aux = output.losses if isinstance(output, Output) else {}
            terms.append({"loss": loss.detach(), **{name: term.detach() for name, term in aux.items()}})
            logits.append((output.logits if isinstance(output, Output) else output).detach())
        self._move(update)
        return _mean(terms), torch.cat(logits) if parts > 1 else logits[0]

    def _loss(self, x_BCSS: Tensor, target_B: Tensor) -> tuple[Output | Tensor, Tensor]:
        training = self.training
        with autocast(training.kind, training.amp):
            taught_BK = None if training.teacher is None else training.teacher.logits(x_BCSS)
            output = self.forward(x_BCSS)
            return learned(output, target_B, taught_BK, training.config)

    def _move(self, update: int) -> None:
        training, options = self.training, self.training.config.train
        if options.clip_grad is not None:
            training.scaler.unscale_(training.optimizer)
            dispatch_clip_grad(training.model.parameters(), options.clip_grad, CLIPPING[options.clip_mode])
        training.scaler.step(training.optimizer)
        training.scaler.update()
        if training.average is not None:
            training.average.update(training.model, step=update + 1)

    def _alone(self, more: bool) -> Any:
        """Gradients are exchanged with the last part only."""
        ddp = isinstance(self.parallel, nn.parallel.DistributedDataParallel)
        return self.parallel.no_sync() if ddp and more else nullcontext()


def _mean(terms: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(terms) == 1:
        return terms[0]
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}
