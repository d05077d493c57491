"""Training loss with or without a teacher: the method's own, or soft or hard labels for a model that has none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from dynvit.config.classify import Config
from dynvit.config.teacher import Teacher
from dynvit.output import Output, TaskLoss, cross_entropy, label_loss, of_heads, soft_label_loss, training_loss


def distillation_loss(
    output: Output | Tensor | tuple[Tensor, Tensor], target: Tensor, teacher_logits: Tensor | None, config: Config
) -> tuple[Output | Tensor, Tensor]:
    """Return the output, with its auxiliary terms, and its loss.

    output: a pair of logits is what timm's distilled models return in training.
    """
    smoothing = config.train.label_smoothing
    if isinstance(output, tuple):
        logits, extra = of_heads(output)
        output = Output(logits, extra=extra)
        output.task_loss = partial(_two_heads, options=config.teacher)
    elif teacher_logits is not None:
        plain = output if isinstance(output, Output) else Output(output)
        if plain.task_loss is None or not plain.uses_teacher:
            blended = partial(_one_head, options=config.teacher, own=plain.task_loss)
            output = replace(plain, task_loss=blended, uses_teacher=True)
    return output, training_loss(output, target, teacher_logits, smoothing)


def _one_head(
    output: Output,
    target: Tensor,
    teacher_logits: Tensor | None,
    smoothing: float,
    options: Teacher,
    own: TaskLoss | None,
) -> Tensor:
    """own: the model's loss on the labels; None: cross entropy."""
    labels = own(output, target, None, smoothing) if own else label_loss(output.logits, target, smoothing)
    return _blend(labels, output.extra.get("dist", output.logits), teacher_logits, options)


def _two_heads(
    output: Output, target: Tensor, teacher_logits: Tensor | None, smoothing: float, options: Teacher
) -> Tensor:
    """Train one head on the labels, the other on the teacher (DeiT, LeViT)."""
    labels = label_loss(output.extra["class"], target, smoothing)
    return _blend(labels, output.extra["dist"], teacher_logits, options)


def _blend(labels: Tensor, student: Tensor, teacher_logits: Tensor | None, options: Teacher) -> Tensor:
    """labels: the loss on the labels; student: the logits that learn from the teacher."""
    if teacher_logits is None:
        return labels
    if teacher_logits.ndim != 2:
        raise ValueError("teacher.tokens: this model cannot use a teacher's tokens")
    if options.kind == "hard":
        distill_term = cross_entropy(student, teacher_logits.argmax(-1))
    else:
        distill_term = soft_label_loss(student, teacher_logits, options.temperature)
    if options.weight == 1:
        return distill_term
    return (1 - options.weight) * labels + options.weight * distill_term
