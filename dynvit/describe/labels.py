"""Settings of the labels' loss at plan: with a teacher of weight 1 a model may learn nothing from labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from dynvit.config.classify import Config
from dynvit.config.extensions import VERSION
from dynvit.describe.own_model import IMAGES, is_heavy, sides
from dynvit.describe.skip_init import SkipInit
from dynvit.models.build import build_reduced
from dynvit.output import labels_by
from dynvit.rng import own_stream
from dynvit.train.distillation import distillation_loss


def unlearned(config: Any, given: Mapping[str, Any]) -> tuple[str, str]:
    """Return why the `loss` of a config is refused, and what is to be remarked; empty where labels are learned.

    given: what follows from the data. A teacher that is trained first learns from labels, whatever its weight is.
    """
    teacher = getattr(config, "teacher", None)
    if teacher is None or not teacher.model.get("name") or teacher.weight != 1 or teacher.tokens:
        return "", ""
    smoothing, loss = config.train.label_smoothing, config.loss.get("name", "")
    keys = ([f"loss {loss}"] if loss else []) + ([f"train.label_smoothing {smoothing:g}"] if smoothing else [])
    if not keys or _learns(json.dumps([config.model, given, config.reducer], sort_keys=True), VERSION.number):
        return "", ""
    why = f"teacher.weight is 1, so that {config.model['name']} learns from the teacher alone and not from labels"
    if loss and not teacher.epochs:
        return f"loss: {loss} is not used: {why}; set teacher.weight below 1, such as 0.5, or leave loss out", ""
    effect = f"act{'s' * (not keys[1:])} on the teacher's own training only" if teacher.epochs else "has no effect"
    return "", f"{' and '.join(keys)} {effect}: {why}"


@cache
def _learns(arguments: str, version: int) -> bool:
    """Whether the loss on labels reaches the training loss beside a teacher's; also where a model cannot be tried.

    The output is made without gradients, so that the training loss has one only by the loss on labels.
    version: of own code.
    """
    options, given, reducer = json.loads(arguments)
    for device in ("meta", "cpu"):
        try:
            with torch.device(device), SkipInit(), own_stream(0, "labels"):
                model = build_reduced(options, {**reducer, "target_gmacs": None}, **given).train()
                if device == "cpu" and is_heavy(model, given):
                    break
                with torch.no_grad():
                    output = model(torch.rand(IMAGES, given["in_chans"], *sides(given["img_size"])))
                labels = torch.zeros((), requires_grad=True)
                target, logits = torch.zeros(IMAGES, dtype=torch.long), torch.zeros(IMAGES, given["num_classes"])
                with labels_by(lambda *_: labels + 0):  # noqa: B023 - called in here
                    return distillation_loss(output, target, logits, Config())[1].requires_grad
        except Exception:  # of values that the meta device lacks, or of a state that only a training sets
            continue
    return True
