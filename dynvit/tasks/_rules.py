"""What `classify` refuses among settings that are each right, and what it takes with a word of caution.

Read without torch, as the task is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config


CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100}
DECODED = tuple(CLASSES)
"""Sets that are always kept in memory."""


def refusals(config: Config) -> Iterator[str]:
    """Settings that cannot be, or cannot go together."""
    train, repeats = config.train, config.data.augment.repeats
    yield from _of_amounts(config)
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
    if repeats < 1 or 1 <= train.batch_size < repeats:
        yield f"data.augment.repeats is 1 or more and fits into a batch, not {repeats}"
    yield from _of_source(config)
    if config.teacher.temperature <= 0:
        yield f"teacher.temperature is above 0, not {config.teacher.temperature:g}"


def odd_labels(labels: Sequence[int]) -> str:
    """What is wrong with a choice of classes, whatever the set is."""
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        return f"labels names {', '.join(map(str, twice))} more than once"
    if labels and min(labels) < 0:
        return f"labels are numbers of classes from 0 on, not {min(labels)}"
    return f"labels names two classes or more, not {labels[0]} alone" if len(labels) == 1 else ""


def channels(name: str) -> int:
    """Of the images of a set, which its name tells."""
    return 1 if name == "digits" else 3


def _of_amounts(config: Config) -> Iterator[str]:
    """Numbers that are wrong whatever the others are, and the schedule's."""
    train, evaluation = config.train, config.evaluation
    for name, number in (
        ("train.batch_size", train.batch_size),
        ("data.image_size", config.data.image_size),
        ("evaluation.batch_size", evaluation.batch_size),
        ("evaluation.timed_batch_size", evaluation.timed_batch_size),
        ("evaluation.timed_batches", evaluation.timed_batches),
    ):
        if number < 1:
            yield f"{name} is 1 or more, not {number}"
    for name, value in (
        ("train.epochs", train.epochs),
        ("train.lr", train.lr),
        ("train.min_lr", train.min_lr),
        ("train.warmup_lr", train.warmup_lr),
        ("train.weight_decay", train.weight_decay),
        ("train.warmup_epochs", train.warmup_epochs),
    ):
        if value < 0:
            yield f"{name} is not negative, but {value:g}"
    for key, data in (("data", config.data), ("source.data", config.source.data)):
        known = CLASSES.get(data.name)
        if known and (odd := [label for label in data.labels if not 0 <= label < known]):
            yield f"{key}.labels: {data.name} has the classes 0 to {known - 1}, not {odd[0]}"
    if 0 <= train.epochs < train.warmup_epochs:
        yield f"train.warmup_epochs {train.warmup_epochs} is more than train.epochs {train.epochs}"
    for name, share in (("train.label_smoothing", train.label_smoothing), ("train.drop_path", train.drop_path)):
        if not 0 <= share < 1:
            yield f"{name} is a share from 0 to below 1, not {share:g}"


def _of_source(config: Config) -> Iterator[str]:
    source, train = config.source, config.train
    if source.epochs < 0:
        yield f"source.epochs is 0 (no source) or more, not {source.epochs}"
    if source.epochs <= 0:
        return
    if train.warmup_epochs > source.epochs:
        yield f"train.warmup_epochs is {train.warmup_epochs}, which source.epochs {source.epochs} does not hold"
    first, then = channels(source.data.name), channels(config.data.name)
    if first != then:
        yield (
            f"source.data {source.data.name} has images of {first} channels, data {config.data.name} of {then}: "
            "one model takes one kind"
        )
    if source.data.image_size < 1:
        yield f"source.data.image_size is 1 or more, not {source.data.image_size}"
    if not 1 <= source.data.augment.repeats <= max(train.batch_size, 1):
        yield f"source.data.augment.repeats is 1 or more and fits into a batch, not {source.data.augment.repeats}"


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
    return [*found, *_about_source(config)]


def _about_source(config: Config) -> Iterator[str]:
    source, data = config.source, config.data
    if not source.epochs:
        if replace(source.data, name="digits", repository="") != type(source.data)():  # an axis may name sources alone
            yield f"source.data {source.data.name} is given and source.epochs is 0: nothing is trained on it"
        return
    if source.data.augment != data.augment:
        yield "source.data.augment is not data.augment: the source's images are augmented in another way"
    if source.data.image_size != data.image_size:
        yield (
            f"source.data.image_size is {source.data.image_size}, data.image_size {data.image_size}: "
            "tables of positions are resampled in between; SReT's and Swin's are not, and such a trial then fails"
        )
