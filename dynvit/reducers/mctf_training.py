"""MCTF in training: a pass that merges fewer tokens is the teacher of the pass that merges as many as evaluation."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.output import Output, label_loss, of_heads


def consistent_forward(reducer: Any, model: Any, images: Tensor) -> Output:
    """Both passes over the same weights; gradients flow through both, but for the teacher's features."""
    drawn = int(torch.randint(reducer.r_teacher, ()))
    trace, model.trace = model.trace, None
    model.reducer = replace(reducer, r=drawn)
    try:
        teacher_BK, of_teacher, teacher_BD = _logits_and_features(model, images)
    finally:
        model.reducer, model.trace = reducer, trace
    logits_BK, extra, feature_BD = _logits_and_features(model, images)
    distance_B = (teacher_BD.detach() - feature_BD).square().mean(1)
    return Output(
        logits_BK,
        extra={**extra, "teacher_logits": of_teacher.get("class", teacher_BK), "distance": distance_B},
        weights={"consistency": reducer.consistency},
        task_loss=partial(consistency_loss, threshold=reducer.threshold),
        uses_teacher=False,
    )


def _logits_and_features(model: Any, images: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    stream = model.reduce_through(images)
    x_BND = model.finish(stream)
    feature_BD = model.head_of(x_BND, stream.weights(), pre_logits=True)
    return *of_heads(model.head_of(x_BND, stream.weights())), feature_BD


def consistency_loss(
    output: Output, target: Tensor, teacher_logits: Tensor | None, smoothing: float, threshold: float
) -> Tensor:
    """Cross entropy of the pass that merges more; ``losses`` get that of the other, and the distance of features, mean
    over the images whose label has a probability above the threshold (0 without any)."""
    extra, logits_BK = output.extra, output.extra.get("class", output.logits)
    share_BK = target if target.ndim == 2 else F.one_hot(target, logits_BK.shape[-1])
    confident_B = (logits_BK.detach().softmax(-1) * share_BK).sum(1) > threshold
    distance = torch.where(confident_B, extra["distance"], 0).sum() / confident_B.sum().clamp(min=1)
    output.losses |= {"teacher": label_loss(extra["teacher_logits"], target, smoothing), "consistency": distance}
    return label_loss(logits_BK, target, smoothing)
