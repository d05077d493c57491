"""Losses of Evo-ViT's heads: those of the averaged patches and of the class token, half each."""

from __future__ import annotations

from torch import Tensor

from dynvit.output import Output, cross_entropy, label_loss


def two_heads(output: Output, target: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
    """Half the loss from the average head, half from the class head (official training code)."""
    by_class = label_loss(output.extra["class"], target, smoothing)
    return 0.5 * label_loss(output.logits, target, smoothing) + 0.5 * by_class


def four_heads(output: Output, target: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
    """Label loss of the average and class heads, hard distillation of the other two, half each (official code).

    Without a teacher the distillation heads learn the labels.
    """
    hard, learn = (target, label_loss) if teacher is None else (teacher.argmax(1), cross_entropy)
    by_label = label_loss(output.logits, target, smoothing) + label_loss(output.extra["class"], target, smoothing)
    by_teacher = learn(output.extra["dist"], hard) + learn(output.extra["class_dist"], hard)
    return 0.25 * by_label + 0.25 * by_teacher
