"""Everything that changes during a training: model, optimizer, schedule, average of the weights, progress."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from dynvit.config.classify import Config
from dynvit.context import Context, permanent_errors
from dynvit.data.batches import Batches, fitting, model_size
from dynvit.data.corrupt import CorruptImages
from dynvit.data.factory import load_data
from dynvit.data.normalization import resolved
from dynvit.interface import interface_of, put_to_update
from dynvit.models.build import build_reduced
from dynvit.rng import seed_globally
from dynvit.train.amp import amp_dtype
from dynvit.train.distributed import ProcessGroup
from dynvit.train.ema import ModelEma, build_ema
from dynvit.train.metrics import EpochMetrics
from dynvit.train.optimizer import build_optimizer, build_scheduler
from dynvit.train.own_code.loss import OwnLoss, build_loss
from dynvit.train.teacher import Teacher, TeacherError


@dataclass
class Progress:
    """How far a training has come."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Batches of the current epoch that have been trained on."""
    lr: float = 0.0
    """Of the last update."""
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, float] = field(default_factory=dict)
    """Scores by which `best` was chosen, where that was not on the validation images."""
    extra: dict[str, float] = field(default_factory=dict)
    """Mean depth and active share after the last finished epoch, for models that record them."""
    top1: list[float] = field(default_factory=list)
    """Of every finished epoch."""
    source: dict[str, float] = field(default_factory=dict)
    """Metrics of the training on source data that came before this one."""
    seconds: float = 0.0
    """Spent up to the checkpoint, by all attempts."""


class Clock:
    """Seconds spent on a trial over all its attempts."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started


@dataclass
class TrainState:
    """The part of a training that a checkpoint holds, except random states."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    scaler: torch.amp.GradScaler
    ema: ModelEma | None
    teacher: Teacher | None
    metrics: EpochMetrics
    device: str
    amp: torch.dtype | None
    """Type of autocast; None: off."""
    evaluate_ema: bool
    """Measure the average of the weights instead of the trained weights."""
    stage: str
    """Name of this training, in trials that have several."""
    clock: Clock
    corrupt: CorruptImages
    """Of the data that it is trained on."""
    label_loss: OwnLoss | None = None
    """In the place of cross entropy."""
    progress: Progress = field(default_factory=Progress)
    of_data: dict[str, int] = field(default_factory=dict)
    """What followed from the data: the model's sizes, updates per epoch."""

    def models(self) -> list[nn.Module]:
        """Return the trained model and its average, if there is one."""
        return [self.model] if self.ema is None else [self.model, self.ema.module]

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated, measured and saved."""
        return self.models()[-1] if self.evaluate_ema else self.model

    def notify_schedules(self, epoch: int, step: int, epochs: int, steps: int) -> None:
        """Put the model and its average to where the training is; see `put_to_update`."""
        for model in self.models():
            put_to_update(model, epoch, step, epochs, steps)

    def state_dict(self) -> dict[str, Any]:
        self.progress.seconds = self.clock.seconds()
        return {
            **({"stage": self.stage} if self.stage else {}),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "progress": asdict(self.progress),
            **({} if self.teacher is None else {"teacher": self.teacher.state_dict()}),
            **({} if self.ema is None else {"average": self.ema.module.state_dict()}),
            **({"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.teacher is not None:
            self.teacher.keep_weights(state["teacher"])
            self.teacher.finish_schedule(self.of_data["steps"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["average"])
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
        self.progress = Progress(**state["progress"])
        self.clock.before = self.progress.seconds


@permanent_errors()
def build(config: Config, context: Context) -> tuple[nn.Module, Batches]:
    """Load the data and build the model for it, with initial weights that depend on the seed alone."""
    train, wanted = config.train, resolved(config.data, config.model.get("name", ""))
    data = load_data(wanted, train.batch_size, config.evaluation.batch_size, context.seed, context.device)
    seed_globally(context.seed, "init")
    drop_path = {"drop_path_rate": train.drop_path} if train.drop_path else {}  # otherwise the model's own default
    return build_reduced(config.model, config.reducer, **fitting("model", config.model, data), **drop_path), data


@permanent_errors()
def build_state(
    model: nn.Module,
    data: Batches,
    config: Config,
    context: Context,
    group: ProcessGroup,
    clock: Clock,
    stage: str = "",
) -> TrainState:
    """Move a model with its initial weights to the device and build what trains it. clock: started with the trial."""
    train, device = config.train, context.device
    if train.batch_size % (group.world * train.accumulate):
        over = f"{group.world} processes with {train.accumulate} parts each (train.accumulate)"
        raise ValueError(f"train.batch_size {train.batch_size} cannot be split evenly over {over}")
    memory_format = torch.channels_last if train.channels_last else torch.preserve_format
    model = group.sync_batchnorm(model.to(device, memory_format=memory_format))
    amp = amp_dtype(train.amp, device)
    optimizer = build_optimizer(model, train)
    scheduler = build_scheduler(optimizer, train, data.steps)
    scaler = torch.amp.GradScaler(torch.device(device).type, enabled=amp is torch.float16)
    teacher = None
    if config.teacher.model.get("name"):
        if hasattr(model, "distilled_training") and config.teacher.weight == 1:
            raise TeacherError(
                f"teacher.weight 1: the class head of {config.model['name']} learns from the labels alone, so that it "
                "would never be trained, and evaluation uses it; set teacher.weight below 1, such as 0.5"
            )
        teacher = Teacher(config.teacher, data, context.seed, device)
        interface_of(model).set_distilled_training(True)
    ema = build_ema(model, train)
    if teacher is not None:
        teacher.attach_to(model)
    return TrainState(
        model, optimizer, scheduler, scaler, ema, teacher, EpochMetrics(device), device, amp,
        config.evaluation.weights == "ema", stage, clock, data.corrupt, build_loss(config, data.classes, device),
        of_data={**model_size(data), "steps": data.steps},
    )  # fmt: skip
