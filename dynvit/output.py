"""Output of a model in training, and the training loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

TaskLoss = Callable[["Output", Tensor, "Tensor | None", float], Tensor]


@dataclass
class Output:
    """Training-mode output of a model with extra heads or losses.

    logits: ``[B, K]``, what evaluation would use.
    losses: unweighted auxiliary terms, scalars, by name (``"z"``, ``"balance"``, ``"prior"`` ...).
    extra:  anything else a loss or a figure needs (logits of extra heads, depths), by name.
    weights: the paper's weight of each entry of ``losses``; a name that is missing weighs 1.
    task_loss: the paper's supervised loss where it is not plain cross entropy on ``logits``,
        called as ``task_loss(output, target, teacher_logits, label_smoothing)``; terms that need the target or the
        teacher it may put into ``losses``, where they are weighted and logged like the others.
    uses_teacher: whether ``task_loss`` reads ``teacher_logits``.
    """

    logits: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)
    extra: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    task_loss: TaskLoss | None = None
    uses_teacher: bool = True


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy; target is class indices ``[B]`` or probabilities ``[B, K]`` (mixup)."""
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing if target.ndim == 1 else 0.0)


def of_heads(logits: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The logits that evaluation would use, and for ``extra`` those of each head of a pair: of the class token, which
    learns from labels, and of the distillation token, which learns from a teacher."""
    if isinstance(logits, Tensor):
        return logits, {}
    return sum(logits) / 2, {"class": logits[0], "dist": logits[1]}


LabelLoss = Callable[[Tensor, Tensor, float], Tensor]
_LABEL_LOSS: ContextVar[LabelLoss | None] = ContextVar("label_loss", default=None)


def label_loss(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """What logits are trained with on the labels, by every model: cross entropy, or what `labels_by` says."""
    return (_LABEL_LOSS.get() or cross_entropy)(logits, target, label_smoothing)


@contextmanager
def labels_by(loss: LabelLoss | None) -> Iterator[None]:
    """Let another loss take the place of cross entropy on labels inside the block; None: it stays."""
    token = _LABEL_LOSS.set(loss)
    try:
        yield
    finally:
        _LABEL_LOSS.reset(token)


def soft_label_loss(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean over the batch of ``-sum_k softmax(t)_k log_softmax(s)_k``, both ``[B, K]`` divided by the temperature.

    Soft labels only, and no factor of the squared temperature: the caller's step size is not touched.
    """
    return F.cross_entropy(logits / temperature, (teacher_logits / temperature).softmax(-1))


def training_loss(
    output: Output | Tensor,
    target: Tensor,
    teacher_logits: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The training loss of a model's output with its paper's weights; a scalar.

    output: an ``Output`` or plain logits ``[B, K]``; target: ``[B]`` or ``[B, K]``;
    teacher_logits: ``[B, K]`` for methods that distill; for a model without a loss of its own the teacher's soft
    labels replace the target (SReT). ValueError for a loss of its own that has no place for them.
    """
    if not isinstance(output, Output):
        output = Output(output)
    if output.task_loss is not None:
        if teacher_logits is not None and not output.uses_teacher:
            raise ValueError("teacher_logits: this model's loss does not use a teacher")
        loss = output.task_loss(output, target, teacher_logits, label_smoothing)
    elif teacher_logits is not None:
        loss = soft_label_loss(output.logits, teacher_logits)
    else:
        loss = label_loss(output.logits, target, label_smoothing)
    for name, term in output.losses.items():
        loss = loss + output.weights.get(name, 1.0) * term
    return loss
