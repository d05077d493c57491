"""Settings of `classify` that are valid and yet a common cause of numbers that cannot be reproduced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from dynvit.config.auto_augment import in_memory_error
from dynvit.config.classify import Config
from dynvit.config.data import KNOWN_SETS, Augment, Data
from dynvit.config.teacher import Teacher
from dynvit.config.train import Mix, Train

PASSES_PER_REPEAT = 50
"""Repeated augmentation was shown to help in schedules in which every image still is seen about a hundred times."""

IN_EVALUATION = ("epochs", "amp", "channels_last", "deterministic")
"""Settings of `train` that matter without training as well."""


def warnings(config: Config) -> Iterator[str]:
    """Yield a warning for each; `studies plan` and `run` print them."""
    data = config.data
    yield from _training(config) if config.train.epochs or config.source.epochs else _evaluation_alone(config)
    for key, images in (("data", data), *([("source.data", config.source.data)] if config.source.epochs else [])):
        if not images.streamed and tuple(images.augment.scale) != Augment().scale:
            yield _not_cropped(key, images)
        if not images.streamed and images.augment.auto and (wrong := in_memory_error(images.augment.auto)):
            yield (
                f"{key}.augment.auto: {wrong}; those of {images.name}, of {images.image_size} pixels, are up to 2 GB "
                f"kept in memory, and their trials fail ({key}.in_memory: never)"
            )
    yield from _source(config)


def _not_cropped(key: str, data: Data) -> str:
    those, never = f"{data.name} are", ""
    if data.name not in KNOWN_SETS:
        those = f"{data.name}, of {data.image_size} pixels, are up to 2 GB"
        never = f"; {key}.in_memory: never crops them"
    return (
        f"{key}.augment.scale crops images that are read from files; those of {those} kept in memory and not cropped "
        f"({key}.augment.shift moves them{never})"
    )


def _training(config: Config) -> Iterator[str]:
    train, repeats = config.train, config.data.augment.repeats
    if train.lr_batch and train.lr_scaling == "none" and train.batch_size != train.lr_batch:
        scaled = train.lr * train.batch_size / train.lr_batch
        yield (
            f"train.lr {train.lr:g} is meant for batches of {train.lr_batch}, train.batch_size is {train.batch_size}: "
            f"linear scaling would give {scaled:g} (train.lr_scaling: linear)"
        )
    if train.schedule != "constant" and train.min_lr > train.peak_lr:
        yield f"train.min_lr {train.min_lr:g} is above the peak {train.peak_lr:g}: the rate rises to its end"
    if train.warmup_epochs and train.warmup_lr > train.peak_lr:
        yield f"train.warmup_lr {train.warmup_lr:g} is above the peak {train.peak_lr:g}: the warm-up lowers it"
    if repeats > 1 and train.epochs < repeats * PASSES_PER_REPEAT:
        yield (
            f"data.augment.repeats {repeats} in {train.epochs} epochs: an image is seen in {train.epochs / repeats:.3g}"
            f" of them; repeats are for long schedules, {repeats * PASSES_PER_REPEAT} epochs or more"
        )
    yield from _unused(config)


def _evaluation_alone(config: Config) -> Iterator[str]:
    """Without training, what is set about it changes the trial's identity and nothing else."""
    if not config.given_weights:  # a control, or a slip that matters more than what else is set
        yield "train.epochs is 0 and init is empty: random weights are evaluated"
        return
    pairs = (("train", config.train, Train()), ("data.augment", config.data.augment, Augment()))
    keys = [
        f"{prefix}.{field.name}"
        for prefix, given, default in pairs
        for field in fields(given)
        if field.name not in IN_EVALUATION and getattr(given, field.name) != getattr(default, field.name)
    ]
    if keys:
        yield f"train.epochs is 0, nothing is trained: {', '.join(keys)} ha{'ve' if keys[1:] else 's'} no effect"


def _unused(config: Config) -> Iterator[str]:
    """Yield settings that nothing reads because another one is missing."""
    teacher, train = config.teacher, config.train
    if not teacher.model.get("name"):
        for key in (f.name for f in fields(teacher) if getattr(teacher, f.name) != getattr(Teacher(), f.name)):
            text = "teacher.model.name is not" if key != "model" else "no name"
            yield f"teacher.{key} is set and {text}: there is no teacher"
    elif teacher.weight == 0:
        yield "teacher.weight is 0: only a model with a distillation loss of its own learns from the teacher"
    elif teacher.kind == "hard" and teacher.temperature != 1:
        yield "teacher.temperature is for soft labels, teacher.kind is hard"
    if teacher.checkpoint and teacher.pretrained:  # a recipe's pretrained teacher gives way to one of the study's
        yield "teacher.checkpoint and teacher.pretrained both name weights: those of teacher.checkpoint are taken"
    if teacher.epochs and (origin := "checkpoint" if teacher.checkpoint else "pretrained" * teacher.pretrained):
        yield f"teacher.epochs {teacher.epochs}: the weights of teacher.{origin} are trained further"
    if train.ema_warmup and not train.ema:
        yield "train.ema_warmup is set and train.ema is 0: no average is kept"
    mixing = [key for key in ("mixup", "cutmix") if getattr(train.mix, key)]
    for key in () if mixing else ("prob", "switch", "mode", "off_epoch"):
        if getattr(train.mix, key) != getattr(Mix(), key):
            yield f"train.mix.{key} is set and neither train.mix.mixup nor train.mix.cutmix is: nothing is mixed"
    if len(mixing) == 1 and train.mix.switch != Mix().switch:
        yield f"train.mix.switch chooses between mixup and cutmix, and train.mix.{mixing[0]} alone is set"
    if train.momentum != Train().momentum and train.optimizer != "sgd":
        yield f"train.momentum is for sgd, train.optimizer is {train.optimizer}"
    if tuple(train.betas) != tuple(Train().betas) and train.optimizer == "sgd":
        yield "train.betas are for the Adam family, train.optimizer is sgd"


def _source(config: Config) -> Iterator[str]:
    source, data = config.source, config.data
    if not source.epochs:
        if replace(source.data, name="digits", repository="") != Data():  # an axis may set the source's name alone
            yield f"source.data {source.data.name} is set and source.epochs is 0: nothing is trained on it"
        return
    if not config.train.epochs:
        yield "train.epochs is 0: the classifier is new after the source and not trained"
    if source.data.augment != data.augment:
        yield "source.data.augment is not data.augment: the source's images are augmented in another way"
    if source.data.image_size != data.image_size:
        yield (
            f"source.data.image_size is {source.data.image_size}, data.image_size {data.image_size}: "
            "position tables are resampled in between"
        )
