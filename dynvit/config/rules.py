"""Rules between options of `classify` that are each valid on their own: combinations that are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dynvit.config.data import KNOWN_SETS, Data, channels_of
from dynvit.config.evaluation import Evaluation
from dynvit.config.extensions import LOSSES
from dynvit.config.option_checks import did_you_mean
from dynvit.config.source import Source
from dynvit.config.teacher import Teacher
from dynvit.config.train import Train

NOT_NEGATIVE = ("epochs", "lr_batch", "min_lr", "warmup_lr", "weight_decay", "warmup_epochs")
"""Numbers of `train`."""


def refusals(data: Data, train: Train, teacher: Teacher, evaluation: Evaluation, source: Source) -> Iterator[str]:
    """Yield a message for every value and every combination that cannot be used."""
    yield from _ranges(train, teacher, evaluation)
    for key, images in (("data", data), ("source.data", source.data)):
        yield from _data(key, images, train)
    yield from _training(train, evaluation)
    if not train.epochs and (name := teacher.model.get("name")):
        yield f"teacher.model {name} has nothing to teach: train.epochs is 0"
    yield from _source(source, data, train)


def _ranges(train: Train, teacher: Teacher, evaluation: Evaluation) -> Iterator[str]:
    """Check single numbers; written so that NaN, which a config made in Python may have, is refused too."""
    for name, count in (
        ("train.batch_size", train.batch_size),
        ("evaluation.batch_size", evaluation.batch_size),
        ("evaluation.counted_images", evaluation.counted_images),
        ("evaluation.timed_batch_size", evaluation.timed_batch_size),
        ("evaluation.timed_batches", evaluation.timed_batches),
    ):
        if count < 1:
            yield f"{name} must be >= 1, got {count}"
    for name, value in (
        *((f"train.{key}", getattr(train, key)) for key in NOT_NEGATIVE),
        ("train.mix.off_epoch", train.mix.off_epoch or 0),
        ("teacher.epochs", teacher.epochs),
        ("evaluation.traced_images", evaluation.traced_images),
    ):
        if not value >= 0:
            yield f"{name} must be >= 0, got {value:g}"
    for key in ("mixup", "cutmix"):
        if not (value := getattr(train.mix, key)) >= 0:
            yield f"train.mix.{key} must be >= 0 (0: off), got {value:g}"
    for key in ("label_smoothing", "drop_path", "ema", "momentum"):
        if not 0 <= (value := getattr(train, key)) < 1:
            yield f"train.{key} must be from 0 to below 1, got {value:g}"
    for name, share in (
        ("train.mix.prob", train.mix.prob),
        ("train.mix.switch", train.mix.switch),
        ("teacher.weight", teacher.weight),
    ):
        if not 0 <= share <= 1:
            yield f"{name} must be from 0 to 1, got {share:g}"
    if train.layer_decay is not None and not 0 < train.layer_decay <= 1:
        yield f"train.layer_decay must be above 0 and at most 1, got {train.layer_decay:g}"
    for name, value in (("train.lr", train.lr), ("teacher.temperature", teacher.temperature)):
        if not value > 0:
            yield f"{name} must be above 0, got {value:g}"
    if train.clip_grad is not None and not train.clip_grad > 0:
        yield f"train.clip_grad must be above 0 (null: no clipping), got {train.clip_grad:g}"
    if len(train.betas) != 2 or not all(0 <= beta < 1 for beta in train.betas):
        yield f"train.betas must be two numbers from 0 to below 1, got {list(train.betas)}"


def _data(key: str, data: Data, train: Train) -> Iterator[str]:
    """Check numbers of an image set; key: where it stands in the config."""
    known, augment = KNOWN_SETS.get(data.name), data.augment
    if known and (unknown := [label for label in data.labels if not 0 <= label < known.classes]):
        yield f"{key}.labels: {data.name} has the classes 0 to {known.classes - 1}, not {unknown[0]}"
    if data.image_size < 1:
        yield f"{key}.image_size must be >= 1, got {data.image_size}"
    if not 0 <= augment.erasing <= 1:
        yield f"{key}.augment.erasing must be from 0 to 1, got {augment.erasing:g}"
    if augment.repeats < 1 or 1 <= train.batch_size < augment.repeats:
        yield f"{key}.augment.repeats must be >= 1 and at most train.batch_size, got {augment.repeats}"


def _training(train: Train, evaluation: Evaluation) -> Iterator[str]:
    if 0 < train.epochs < train.warmup_epochs:
        yield f"train.warmup_epochs {train.warmup_epochs} is more than train.epochs {train.epochs}"
    if train.accumulate < 1 or train.batch_size % train.accumulate:
        yield f"train.batch_size {train.batch_size} is not divisible into train.accumulate {train.accumulate} parts"
    if train.lr_scaling == "linear" and train.lr_batch < 1:
        yield "train.lr_scaling linear needs train.lr_batch, the batch size that train.lr is meant for"
    if evaluation.weights == "ema" and not train.ema:
        yield "evaluation.weights is ema, but train.ema is 0: no average is kept"
    if train.clip_mode == "adaptive" and train.clip_grad is None:
        yield "train.clip_mode adaptive needs train.clip_grad, such as 0.01"
    if (train.mix.mixup or train.mix.cutmix) and train.batch_size % 2:
        yield f"train.mix needs an even train.batch_size, not {train.batch_size}"


def _source(source: Source, data: Data, train: Train) -> Iterator[str]:
    if source.epochs < 0:
        yield f"source.epochs must be >= 0 (0: no source), got {source.epochs}"
    if source.epochs <= 0:
        return
    if train.warmup_epochs > source.epochs:
        yield f"train.warmup_epochs {train.warmup_epochs} is more than source.epochs {source.epochs}"
    first, then = channels_of(source.data.name), channels_of(data.name)
    if first != then:
        yield (
            f"source.data {source.data.name} has images of {first} channels, data {data.name} of {then}: "
            "one model takes one number of channels"
        )


def loss_error(loss: Mapping[str, Any]) -> str:
    """Return what is wrong with a `loss`; empty if nothing is."""
    if not loss:
        return ""
    options = dict(loss)
    name = options.pop("name", None)
    if name not in LOSSES:
        there = did_you_mean(str(name), LOSSES) or f"; registered are {', '.join(sorted(LOSSES)) or 'none'}"
        return f"loss needs a name{there}" if name is None else f"loss.name: there is no loss {name}{there}"
    try:
        LOSSES[name].check(options)
    except ValueError as error:
        return f"loss: {error}"
    return ""
