"""The training loop: epochs of updates, validation after each, checkpoints at every boundary between updates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from dynvit.config.classify import Config
from dynvit.context import Context, Stopped
from dynvit.data.batches import Batches
from dynvit.interface import interface_of
from dynvit.rng import seed_globally
from dynvit.train.checkpointing import load_checkpoint, save_checkpoint, save_weights
from dynvit.train.distributed import ProcessGroup
from dynvit.train.evaluate import evaluate
from dynvit.train.mixup import BatchAugmentation
from dynvit.train.state import Clock, TrainState, build_state
from dynvit.train.step import check_labels, train_step
from dynvit.train.teacher import Teacher

CHECK_EVERY = {"cpu": 1, "cuda": 50}
"""Updates between checks that the loss is finite: each check waits for a GPU."""


def fit(state: TrainState, data: Batches, config: Config, context: Context, group: ProcessGroup) -> None:
    """Train from the beginning or from a checkpoint to the last epoch. Raises ``Stopped`` after saving.

    Without epochs the given weights are evaluated, as epoch 0.
    """
    checkpoint = context.load()
    if checkpoint is None or not load_checkpoint(checkpoint, state, data.steps, config, context, group):
        if state.teacher is not None and not state.teacher.trained:
            train_teacher(state.teacher, data, config, context, group)
        seed_globally(context.seed, "drop", *([group.rank] if group.rank else []))
    forward, augmentation = trainable(state, data, config, context.seed, group)
    between = partial(checkpoint_or_stop, state, context, group)
    while state.progress.epoch < config.train.epochs:
        metrics, speed = train_epoch(state, forward, augmentation, data, config, group, between)
        finish_epoch(state, metrics, speed, data, config, context, group)
        between()
    if not config.train.epochs:
        progress, found = state.progress, validate(state, data, config, context, group)
        progress.best = progress.last
        context.log(0, found, steps=0)
    if config.keep_checkpoint:
        save_checkpoint(state, context, group)
        save_weights("last.safetensors", state.eval_model, state, config, context, group)
        if state.ema is not None and not state.evaluate_ema:
            save_weights("ema.safetensors", state.ema.module, state, config, context, group)


def train_teacher(teacher: Teacher, data: Batches, config: Config, context: Context, group: ProcessGroup) -> None:
    """Train it for `teacher.epochs` on the student's data and with its options. A stopped one starts over."""
    epochs, name = teacher.options.epochs, teacher.options.model["name"]
    train = replace(config.train, epochs=epochs, warmup_epochs=min(config.train.warmup_epochs, 1))
    config = replace(config, model=teacher.options.model, train=train, teacher=type(config.teacher)())
    teacher.model.requires_grad_(True)
    state = build_state(teacher.model, data, config, context, group, Clock())
    seed_globally(context.seed, "teacher", *([group.rank] if group.rank else []))
    forward, augmentation = trainable(state, data, config, context.seed, group)

    def between() -> None:
        if context.should_stop:
            raise Stopped(f"while the teacher was in epoch {state.progress.epoch + 1} of {epochs}; it starts over")

    while state.progress.epoch < epochs:
        train_epoch(state, forward, augmentation, data, config, group, between)
        state.progress.epoch, state.progress.step = state.progress.epoch + 1, 0
        state.metrics.clear()
    group.sync_buffers(state.eval_model)
    teacher.keep_weights(state.eval_model.state_dict())
    context.log_text(f"teacher {name} trained for {epochs} epochs")


def trainable(
    state: TrainState, data: Batches, config: Config, seed: int, group: ProcessGroup
) -> tuple[nn.Module, BatchAugmentation]:
    """Return the model as it is called in training, distributed and compiled, and the augmentation of its batches."""
    forward = group.ddp(state.model)
    if config.train.compile:
        forward = torch.compile(forward)
    return forward, BatchAugmentation(config, data.classes, seed, group.rank)


def train_epoch(
    state: TrainState,
    forward: nn.Module,
    augmentation: BatchAugmentation,
    data: Batches,
    config: Config,
    group: ProcessGroup,
    between: Callable[[], None],
) -> tuple[dict[str, float], dict[str, float]]:
    """Train on the rest of the current epoch; return its training metrics and its speed. between: after each update."""
    progress, started, images = state.progress, time.perf_counter(), 0
    state.notify_schedules(progress.epoch, progress.step, config.train.epochs, data.steps)
    state.model.train()
    if progress.step < data.steps:
        for x_BCSS, target_B in data.train(progress.epoch, progress.step, group.shard):
            if not images:
                check_labels(target_B, data.classes)
            update(state, forward, augmentation, x_BCSS, target_B, data.steps, config)
            images += len(target_B) * group.world
            between()
    state.metrics.check(progress.epoch + 1)
    metrics = state.metrics.means(group)
    return metrics, {"train.images_per_second": images / (time.perf_counter() - started)} if images else {}


def update(
    state: TrainState,
    forward: nn.Module,
    augmentation: BatchAugmentation,
    x_BCSS: Tensor,
    target_B: Tensor,
    steps: int,
    config: Config,
) -> None:
    """Make one update with a batch; steps: updates per epoch."""
    progress = state.progress
    mixed_BCSS, label = augmentation(x_BCSS, target_B, progress.epoch, progress.step)
    number = progress.epoch * steps + progress.step
    for group in state.optimizer.param_groups:
        if progress.epoch < group.get("freeze_epochs", 0):
            group["lr"] = 0.0  # the scheduler sets it again after the update
    terms, logits_BK = train_step(state, forward, mixed_BCSS, label, number, config)
    progress.lr = max(group["lr"] for group in state.optimizer.param_groups)
    state.metrics.add(progress.step, terms, logits_BK, target_B)
    progress.step += 1
    state.scheduler.step_update(number + 1)
    if (number + 1) % CHECK_EVERY.get(torch.device(state.device).type, 1) == 0:
        state.metrics.check(progress.epoch + 1)


def finish_epoch(
    state: TrainState,
    metrics: dict[str, float],
    speed: dict[str, float],
    data: Batches,
    config: Config,
    context: Context,
    group: ProcessGroup,
) -> None:
    """Validate, keep the best weights, log the epoch.

    Only epochs compete in which the model costs what it will cost: the accuracy of a dense epoch of a schedule is not
    that of the sparse model at its end.
    """
    progress = state.progress
    for model in state.models():
        group.sync_buffers(model)
    progress.epoch, progress.step = progress.epoch + 1, 0
    found = validate(state, data, config, context, group)
    scores = progress.last
    if config.data.choose:
        scores = evaluate(state.eval_model, data, 0, state.amp, group, choosing=True).scores()
        found |= {f"choose.{key}": value for key, value in scores.items()}
    state.metrics.clear()
    progress.top1.append(progress.last["top1"])
    competes = interface_of(state.eval_model).at_final_operating_point
    if progress.epoch == config.train.epochs and not progress.best and not competes:
        context.log_text("warning: the model's schedule is longer than the training: the last epoch counts as the best")
        competes = True
    if competes and (not progress.best or _ranking(scores) > _ranking(progress.chosen or progress.best)):
        progress.best, progress.chosen = progress.last, scores
        if config.keep_checkpoint:
            save_weights("best.safetensors", state.eval_model, state, config, context, group)
    context.log(progress.epoch, {**metrics, **found, "lr": progress.lr, **speed}, steps=config.train.epochs)


def validate(
    state: TrainState, data: Batches, config: Config, context: Context, group: ProcessGroup
) -> dict[str, float]:
    """Evaluate after `state.progress.epoch` epochs and return the events."""
    progress = state.progress
    found = evaluate(state.eval_model, data, config.evaluation.traced_images, state.amp, group)
    progress.last = {**found.scores(), "epoch": float(progress.epoch)}
    progress.extra = found.token_metrics()
    corrupt = log_corrupt_images(data, context, group) if config.data.max_corrupt else {}
    return {**found.events(), **corrupt}


def checkpoint_or_stop(state: TrainState, context: Context, group: ProcessGroup) -> None:
    """Between two updates: save if a checkpoint is due, save and raise ``Stopped`` if the task should stop."""
    stop = context.should_stop
    if stop or context.checkpoint_due():
        save_checkpoint(state, context, group)
    if stop:
        raise Stopped(f"saved in epoch {state.progress.epoch + 1} after {state.progress.step} batches")


def log_corrupt_images(data: Batches, context: Context, group: ProcessGroup) -> dict[str, float]:
    """Log images that could not be decoded, of all processes, and return their number."""
    for name, reason in data.corrupt.merge(group.all_gather(data.corrupt.found)):
        context.log_text(f"left out: {name} cannot be read as an image: {reason}")
    return {"corrupt_images": float(len(data.corrupt.found))}


def _ranking(scores: dict[str, float]) -> tuple[float, float]:
    """Order epochs by top-1 accuracy, then by loss."""
    return scores["top1"], -scores["loss"]
