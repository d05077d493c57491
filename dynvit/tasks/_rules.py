"""What `classify` refuses among settings that are each right, and what it takes with a word of caution.

Read without torch, as the task is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config


DECODED = ("digits", "cifar10", "cifar100")
"""Sets that are always kept in memory."""


def refusals(config: Config) -> Iterator[str]:
    """Settings that cannot go together."""
    train, repeats = config.train, config.data.augment.repeats
    if train.accumulate < 1 or train.batch_size % train.accumulate:
        yield f"train.batch_size {train.batch_size} cannot be cut into train.accumulate {train.accumulate} parts"
    if train.lr_scaling == "linear" and train.lr_batch < 1:
        yield "train.lr_scaling linear needs train.lr_batch, the batch size that train.lr is meant for"
    if not 0 <= train.ema < 1:
        yield f"train.ema is a decay from 0 to below 1, not {train.ema:g}"
    if config.evaluation.weights == "ema" and not train.ema:
        yield "evaluation.weights is ema, but train.ema is 0: no average is kept"
    if train.layer_decay is not None and not 0 < train.layer_decay <= 1:
        yield f"train.layer_decay is above 0 and at most 1, not {train.layer_decay:g}"
    if train.clip_mode == "adaptive" and train.clip_grad is None:
        yield "train.clip_mode adaptive needs train.clip_grad, such as 0.01"
    if min(train.mix.mixup, train.mix.cutmix) < 0:
        yield "train.mix.mixup and train.mix.cutmix are 0 (off) or more"
    for name, share in (
        ("train.mix.prob", train.mix.prob),
        ("train.mix.switch", train.mix.switch),
        ("data.augment.erasing", config.data.augment.erasing),
        ("teacher.weight", config.teacher.weight),
    ):
        if not 0 <= share <= 1:
            yield f"{name} is a share from 0 to 1, not {share:g}"
    if (train.mix.mixup or train.mix.cutmix) and train.batch_size % 2:
        yield f"train.mix needs an even train.batch_size, not {train.batch_size}"
    if repeats < 1 or train.batch_size < repeats:
        yield f"data.augment.repeats is 1 or more and fits into a batch, not {repeats}"
    if config.teacher.temperature <= 0:
        yield f"teacher.temperature is above 0, not {config.teacher.temperature:g}"


ENOUGH_PASSES = 50
"""Repeated augmentation was shown to help where every image still is seen about a hundred times."""


UNTOLD = (0.35, 1.0)
"""data.augment.scale where nobody has set it."""


def cautions(config: Config) -> list[str]:
    """What is allowed and yet the usual way to numbers that nobody can reproduce; `studies plan` and `run` say it."""
    train, repeats, found = config.train, config.data.augment.repeats, []
    if train.lr_batch and train.lr_scaling == "none" and train.batch_size != train.lr_batch:
        scaled = train.lr * train.batch_size / train.lr_batch
        found.append(
            f"train.lr {train.lr:g} is meant for batches of {train.lr_batch}, train.batch_size is {train.batch_size}: "
            f"by linear scaling it were {scaled:g} (train.lr_scaling: linear)"
        )
    if repeats > 1 and train.epochs < repeats * ENOUGH_PASSES:
        found.append(
            f"data.augment.repeats {repeats} in {train.epochs} epochs: an image is seen in {train.epochs / repeats:.3g}"
            f" of them; repeats are for long trainings, {repeats * ENOUGH_PASSES} epochs or more"
        )
    if config.data.name in DECODED and tuple(config.data.augment.scale) != UNTOLD:
        found.append(
            f"data.augment.scale crops images that come from files; those of {config.data.name} are kept in memory "
            "and not cropped (data.augment.shift moves them)"
        )
    return found
