"""The training loop: epochs of updates, validation after each, checkpoints at every boundary between updates."""

from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from dynvit.config.classify import Config
from dynvit.context import Context, Stopped
from dynvit.data.batches import Batches
from dynvit.rng import seed_globally
from dynvit.train.checkpointing import load_checkpoint, save_checkpoint, save_weights
from dynvit.train.distributed import ProcessGroup
from dynvit.train.evaluate import evaluate
from dynvit.train.mixup import BatchAugmentation
from dynvit.train.state import TrainState
from dynvit.train.step import check_labels, train_step

CHECK_EVERY = {"cpu": 1, "cuda": 50}
"""Updates between checks that the loss is finite: each check waits for a GPU."""


def fit(state: TrainState, data: Batches, config: Config, context: Context, group: ProcessGroup) -> None:
    """Train from the beginning or from a checkpoint to the last epoch. Raises ``Stopped`` after saving."""
    checkpoint = context.load()
    if checkpoint is None or not load_checkpoint(checkpoint, state, config, context, group):
        if state.teacher is not None:
            state.teacher.pretrain(data, config.train, context)
        seed_globally(context.seed, "drop", *([group.rank] if group.rank else []))
    forward = group.ddp(state.model)
    if config.train.compile:
        forward = torch.compile(forward)
    augmentation = BatchAugmentation(config, data.classes, context.seed, group.rank)
    while state.progress.epoch < config.train.epochs:
        metrics, speed = train_epoch(state, forward, augmentation, data, config, context, group)
        finish_epoch(state, metrics, speed, data, config, context, group)
        checkpoint_or_stop(state, context, group)
    if config.keep_checkpoint:
        save_checkpoint(state, context, group)
        save_weights("last.safetensors", state.eval_model, state, config, context, group)
        if state.ema is not None and not state.evaluate_ema:
            save_weights("ema.safetensors", state.ema.module, state, config, context, group)


def train_epoch(
    state: TrainState,
    forward: nn.Module,
    augmentation: BatchAugmentation,
    data: Batches,
    config: Config,
    context: Context,
    group: ProcessGroup,
) -> tuple[dict[str, float], dict[str, float]]:
    """Train on the rest of the current epoch; return its training metrics and its speed."""
    progress, started, images = state.progress, time.perf_counter(), 0
    state.notify_epoch(progress.epoch, config.train.epochs)
    state.model.train()
    if progress.step < data.steps:
        for x_BCSS, target_B in data.train(progress.epoch, progress.step, group.shard):
            if not images:
                check_labels(target_B, data.classes)
            update(state, forward, augmentation, x_BCSS, target_B, data.steps, config)
            images += len(target_B) * group.world
            checkpoint_or_stop(state, context, group)
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
    """Validate, keep the best weights, log the epoch."""
    progress = state.progress
    for model in state.models():
        group.sync_buffers(model)
    found = evaluate(state.eval_model, data, config.evaluation.traced_images, state.amp, group)
    progress.epoch, progress.step = progress.epoch + 1, 0
    state.metrics.clear()
    progress.last = {**found.scores(), "epoch": float(progress.epoch)}
    progress.top1.append(found.top1)
    if not progress.best or _ranking(progress.last) > _ranking(progress.best):
        progress.best = progress.last
        if config.keep_checkpoint:
            save_weights("best.safetensors", state.eval_model, state, config, context, group)
    progress.extra = found.token_metrics()
    corrupt = log_corrupt_images(data, context, group) if config.data.max_corrupt else {}
    metrics = {**metrics, **found.events(), "lr": progress.lr, **speed, **corrupt}
    context.log(progress.epoch, metrics, steps=config.train.epochs)


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
