"""One trial of `classify`, from config to result: epochs of updates, evaluation, checkpoints, final measurements."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dynvit.analysis.accuracy_fluctuation import fluctuation
from dynvit.checkpoint.initial_weights import begin
from dynvit.context import Context, Stopped
from dynvit.data import Batches, load
from dynvit.models.build import fitted
from dynvit.profiling.macs import complexity
from dynvit.profiling.peak_memory import forget_peak, peak_mb
from dynvit.rng import deterministic, seed_globally
from dynvit.train import checkpointing, left_out
from dynvit.train.amp import precision
from dynvit.train.checkpointing import Clock, Progress
from dynvit.train.distributed import Together
from dynvit.train.ema import average, too_slow
from dynvit.train.evaluate import evaluate, throughput
from dynvit.train.guards import check_labels
from dynvit.train.metrics import Tally
from dynvit.train.mixup import Mixing
from dynvit.train.optimizer import optimiser, scheduler
from dynvit.train.predictions import FILE, predictions
from dynvit.train.step import Step
from dynvit.train.teacher import Teacher

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config

CHECK_EVERY = {"cpu": 1, "cuda": 50}  # steps between looks at the loss: each look waits for a GPU


class Training:
    """A model on its way. Everything random comes from streams named by purpose (``dynvit.rng``)."""

    stage = ""
    """Which of the trainings of a trial this is, where there are several; its checkpoints say so."""

    def __init__(self, config: Config, context: Context, together: Together | None = None) -> None:
        self.config, self.context, self.device = config, context, context.device
        self.kind = torch.device(self.device).type
        self.clock, self.progress, self.tally = Clock(), Progress(), Tally(self.device)
        self.amp = precision(config.train.amp, self.device)
        self.together = together or Together(context)
        self.left_out = self.trained = 0

    def run(self) -> dict[str, Any]:
        with self.set_up():
            self.train()
            return self.finish()

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """How torch computes, and the other processes of this trial."""
        with ExitStack() as stack:
            if self.config.train.deterministic:
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with it only
                stack.enter_context(deterministic(True))
            if self.kind == "cpu" and torch.set_flush_denormal(True):
                stack.callback(torch.set_flush_denormal, False)
            forget_peak(self.device)
            stack.enter_context(self.together.joined())
            yield

    def train(self) -> None:
        """From the start, or from a checkpoint, to the last epoch."""
        self.prepare()
        while self.progress.epoch < self.config.train.epochs:
            self._train_epoch()
            self._close_epoch()
            self._boundary()

    def prepare(self) -> None:
        """Everything that stands before the next update."""
        self._build()
        self.average = average(self.model, self.config.train)
        if self.teacher is not None:
            self.teacher.sit_in(self.model)
        checkpoint = self.context.load()
        if checkpoint is None or not checkpointing.read(self, checkpoint):
            if self.teacher is not None:
                self.teacher.prepare(self)
            seed_globally(self.context.seed, "drop", *([self.together.rank] if self.together.rank else []))
        self.step = Step(self)
        self._warn()

    def finish(self) -> dict[str, Any]:
        """What is left and what is told in the end."""
        if self.config.keep_checkpoint:
            self._save()
            checkpointing.keep_weights(self, "last.safetensors")
            if self.average is not None and self.measured is self.model:
                checkpointing.keep_weights(self, "ema.safetensors", self.average.module)
        return self._result() if self.together.rank == 0 else {"metrics": {}}

    def _build(self) -> None:
        train, evaluation = self.config.train, self.config.evaluation
        self.data: Batches = load(
            self.config.data, train.batch_size, evaluation.batch_size, self.context.seed, self.device
        )
        seed_globally(self.context.seed, "init")
        model = fitted(self.config.model, self.data, train.drop_path)
        self.begin(model)
        form = torch.channels_last if train.channels_last else torch.preserve_format
        self.model = self.together.prepared(model.to(self.device, memory_format=form))
        self.mixing = Mixing(self.config, self.data.classes, self.context.seed, self.together.rank)
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.amp is torch.float16)
        self.optimizer = optimiser(self.model, train)
        self.scheduler = scheduler(self.optimizer, train, self.data.steps)
        self.teacher = Teacher(self) if self.config.teacher.model.get("name") else None
        if self.teacher is not None and hasattr(self.model, "set_distilled_training"):
            self.model.set_distilled_training(True)

    def begin(self, model: nn.Module) -> None:
        """The weights it starts from, where those are not its own."""
        begin(model, self.config.init, self.config.model["name"], self.context)

    def models(self) -> list[nn.Module]:
        """The one that is trained, and its average if there is one."""
        return [self.model] if self.average is None else [self.model, self.average.module]

    @property
    def measured(self) -> nn.Module:
        return self.models()[-1] if self.config.evaluation.weights == "ema" else self.model

    def announce(self, epoch: int) -> None:
        """Models that change with the epochs are told."""
        for model in self.models():
            if hasattr(model, "set_epoch"):
                model.set_epoch(epoch, self.config.train.epochs)

    def _warn(self) -> None:
        from dynvit.tasks.classify import cautions

        slow = too_slow(self.config.train, self.config.train.epochs * self.data.steps)
        for text in [*cautions(self.config), *([slow] if slow else [])]:
            self.context.say(f"caution: {text}")

    def _train_epoch(self) -> None:
        progress = self.progress
        self.announce(progress.epoch)
        self.model.train()
        self.started, self.trained = time.perf_counter(), 0
        if progress.step < self.data.steps:
            for x_BCSS, target_B in self.data.train(progress.epoch, progress.step, self.together.part):
                self.update(x_BCSS, target_B)
                self._boundary()
        self.tally.check(progress.epoch + 1)

    def update(self, x_BCSS: Tensor, target_B: Tensor) -> None:
        """One batch: mixed, forward and backward, weights moved, counted."""
        progress = self.progress
        if not self.trained:
            check_labels(target_B, self.data.classes)
        mixed_BCSS, label = self.mixing(x_BCSS, target_B, progress.epoch, progress.step)
        terms, logits_BK = self.step(mixed_BCSS, label, progress.epoch * self.data.steps + progress.step)
        progress.lr = max(group["lr"] for group in self.optimizer.param_groups)
        self.tally.add(progress.step, terms, logits_BK, target_B)
        progress.step += 1
        self.trained += len(target_B) * self.together.world
        update = progress.epoch * self.data.steps + progress.step
        self.scheduler.step_update(update)
        if update % CHECK_EVERY.get(self.kind, 1) == 0:
            self.tally.check(progress.epoch + 1)

    def _close_epoch(self) -> None:
        """Evaluate, log, move on to the next epoch."""
        progress, sums = self.progress, self.tally.means(self.together)
        speed = self.trained / (time.perf_counter() - self.started)
        found = evaluate(self.measured, self.data, self.config.evaluation.traced_images, self.amp, self.together)
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.tally.clear()
        progress.last = {**found.scores(), "epoch": float(progress.epoch)}
        progress.top1.append(found.top1)
        if not progress.best or rank(progress.last) > rank(progress.best):
            progress.best = progress.last
            if self.config.keep_checkpoint:
                checkpointing.keep_weights(self, "best.safetensors")
        progress.extra = (
            {} if found.depth is None else {"mean_depth": found.depth, "active_share": found.active_share()}
        )
        speeds = {"train.images_per_second": speed} if self.trained else {}
        metrics = {**sums, **found.events(), "lr": progress.lr, **speeds, **left_out.count(self)}
        self.context.log(progress.epoch, metrics, steps=self.config.train.epochs)

    def _boundary(self) -> None:
        """Between two updates: save when it is time, stop when asked to."""
        stopping = self.context.stopping
        if stopping or self.context.due():
            self._save()
        if stopping:
            raise Stopped(f"saved in epoch {self.progress.epoch + 1} after {self.progress.step} batches")

    def _save(self) -> None:
        shared = checkpointing.shared(self)
        self.context.save(lambda file: checkpointing.write(self, file, shared))

    def _result(self) -> dict[str, Any]:
        evaluation, progress = self.config.evaluation, self.progress
        self.context.keep(FILE, predictions(self.measured, self.data, self.amp))
        cost = complexity(self.measured, self.data.sample(evaluation.counted_images))
        speed = throughput(
            self.measured, self.data.sample(evaluation.timed_batch_size), evaluation.timed_batches, self.amp
        )
        seconds, unrest = self.clock.seconds(), fluctuation(progress.top1, self.config.train.epochs)
        unreadable, named = left_out.summary(self)
        return {
            "metrics": {
                "best": dict(progress.best),
                "last": dict(progress.last),
                "gflops": cost.gmacs,
                "params_m": cost.params / 1e6,
                "images_per_second": speed,
                **progress.extra,
                **progress.source,
                **unreadable,
                **({} if unrest is None else {"fluctuation": unrest}),
            },
            "cost": {
                "seconds": seconds,
                "gpu_seconds": seconds * self.together.world if self.kind == "cuda" else 0.0,
                "peak_memory_mb": peak_mb(self.device),
                "params": cost.params,
                "gflops": cost.gmacs,
            },
            **named,
        }


def rank(scores: dict[str, float]) -> tuple[float, float]:
    """Higher is better: by top-1, equals by loss."""
    return scores["top1"], -scores["loss"]
