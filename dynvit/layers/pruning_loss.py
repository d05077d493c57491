"""Training terms of DynamicViT and TPS: kept share, the teacher's logits, the teacher's tokens where they survive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from dynvit.output import Output, label_loss


def kept_share(masks_SBN: list[Tensor], ratios: tuple[float, ...]) -> Tensor:
    """Sum over stages of the mean over images of (kept share - wanted share) squared."""
    return sum((mask.mean(1) - ratio).square().mean() for mask, ratio in zip(masks_SBN, ratios, strict=True))


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of logits ``[..., K]``, summed over the classes."""
    teacher = teacher.log_softmax(-1)
    return (teacher.exp() * (teacher - student.log_softmax(-1))).sum(-1)


def token_distance(student: Tensor, teacher: Tensor, live_BN: Tensor, kind: Literal["mse", "kl"]) -> Tensor:
    """Mean over the surviving tokens; zero if there are none."""
    if student.shape != teacher.shape:
        shapes = f"{tuple(student.shape)}, the teacher's {tuple(teacher.shape)}"
        raise ValueError(f"teacher.tokens needs a teacher of the same backbone and grid: its tokens are {shapes}")
    each_BN = divergence(student, teacher) if kind == "kl" else (student - teacher).square().mean(-1)
    return torch.where(live_BN, each_BN, 0).sum() / live_BN.sum().clamp(min=1)


def distilled(output: Output, target: Tensor, teacher_logits: Tensor | None, smoothing: float) -> Tensor:
    """Cross entropy; the teacher's terms, if there is a teacher, go to ``output.losses``.

    teacher_logits given to the loss precede those of the model's own teacher; ``extra["teacher_tokens"]`` is compared
    with ``extra["tokens"]``: normalized patches by squared error, patch logits by divergence (``extra["aux"]``).
    """
    extra = output.extra
    if teacher_logits is None:
        teacher_logits = extra.get("teacher_logits")
    if teacher_logits is not None:
        output.losses["distillation"] = divergence(extra.get("dist", output.logits), teacher_logits).mean()
    if "teacher_tokens" in extra:
        kind = "kl" if "aux" in extra else "mse"
        student = extra["aux"] if "aux" in extra else extra["tokens"]
        output.losses["token"] = token_distance(student, extra["teacher_tokens"], extra["kept"], kind)
    return label_loss(extra.get("class", output.logits), target, smoothing)
