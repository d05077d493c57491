"""The training loss with a teacher: the method's own, or soft or hard labels for a model that has none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from dynvit.output import Output, cross_entropy, soft_label_loss, training_loss

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config
    from dynvit.tasks.classify import Teacher as Options


def learned(
    output: Output | Tensor | tuple[Tensor, Tensor], target: Tensor, taught: Tensor | None, config: Config
) -> tuple[Output | Tensor, Tensor]:
    """The output, with its terms, and its loss. A pair are the logits of timm's distilled models in training."""
    smoothing = config.train.label_smoothing
    if isinstance(output, tuple):
        output = Output(sum(output) / 2, extra={"class": output[0], "dist": output[1]})
        output.task_loss = partial(_two_heads, options=config.teacher)
    elif taught is not None and not (isinstance(output, Output) and output.task_loss):
        plain = output if isinstance(output, Output) else Output(output)
        output = replace(plain, task_loss=partial(_one_head, options=config.teacher))
    return output, training_loss(output, target, taught, smoothing)


def _one_head(output: Output, target: Tensor, taught: Tensor | None, smoothing: float, options: Options) -> Tensor:
    return _blend(output.logits, output.logits, target, taught, smoothing, options)


def _two_heads(output: Output, target: Tensor, taught: Tensor | None, smoothing: float, options: Options) -> Tensor:
    """One head learns the labels, the other the teacher (DeiT, LeViT)."""
    return _blend(output.extra["class"], output.extra["dist"], target, taught, smoothing, options)


def _blend(
    logits: Tensor, pupil: Tensor, target: Tensor, taught: Tensor | None, smoothing: float, options: Options
) -> Tensor:
    if taught is None:
        return cross_entropy(logits, target, smoothing)
    if taught.ndim != 2:
        raise ValueError("teacher.tokens: this model has no use for a teacher's tokens")
    if options.kind == "hard":
        lesson = cross_entropy(pupil, taught.argmax(-1))
    else:
        lesson = soft_label_loss(pupil, taught, options.temperature)
    if options.weight == 1:
        return lesson
    return (1 - options.weight) * cross_entropy(logits, target, smoothing) + options.weight * lesson
