"""Training loss with or without a teacher: the method's own, or soft or hard labels for a model that has none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from dynvit.config.classify import Config
from dynvit.config.teacher import Teacher
from dynvit.output import Output, cross_entropy, soft_label_loss, training_loss


def distillation_loss(
    output: Output | Tensor | tuple[Tensor, Tensor], target: Tensor, teacher_logits: Tensor | None, config: Config
) -> tuple[Output | Tensor, Tensor]:
    """Return the output, with its auxiliary terms, and its loss.

    output: a pair of logits is what timm's distilled models return in training.
    """
    smoothing = config.train.label_smoothing
    if isinstance(output, tuple):
        output = Output(sum(output) / 2, extra={"class": output[0], "dist": output[1]})
        output.task_loss = partial(_two_heads, options=config.teacher)
    elif teacher_logits is not None and not (isinstance(output, Output) and output.task_loss):
        plain = output if isinstance(output, Output) else Output(output)
        output = replace(plain, task_loss=partial(_one_head, options=config.teacher))
    return output, training_loss(output, target, teacher_logits, smoothing)


def _one_head(
    output: Output, target: Tensor, teacher_logits: Tensor | None, smoothing: float, options: Teacher
) -> Tensor:
    return _blend(output.logits, output.logits, target, teacher_logits, smoothing, options)


def _two_heads(
    output: Output, target: Tensor, teacher_logits: Tensor | None, smoothing: float, options: Teacher
) -> Tensor:
    """Train one head on the labels, the other on the teacher (DeiT, LeViT)."""
    return _blend(output.extra["class"], output.extra["dist"], target, teacher_logits, smoothing, options)


def _blend(
    logits: Tensor, student: Tensor, target: Tensor, teacher_logits: Tensor | None, smoothing: float, options: Teacher
) -> Tensor:
    if teacher_logits is None:
        return cross_entropy(logits, target, smoothing)
    if teacher_logits.ndim != 2:
        raise ValueError("teacher.tokens: this model cannot use a teacher's tokens")
    if options.kind == "hard":
        distill_term = cross_entropy(student, teacher_logits.argmax(-1))
    else:
        distill_term = soft_label_loss(student, teacher_logits, options.temperature)
    if options.weight == 1:
        return distill_term
    return (1 - options.weight) * cross_entropy(logits, target, smoothing) + options.weight * distill_term
