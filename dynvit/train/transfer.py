"""Transfer: a training on source data, then one on the trial's own data from its weights.

Optimizer, schedule, average, teacher and classifier are new in the second. The curve is one: the source's epochs come
first, under keys with a prefix. A checkpoint holds the name of its stage, so that the source is never trained twice.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dynvit.checkpoint.load import InitSpec, load_initial_weights, transfer_weights
from dynvit.config.classify import Config
from dynvit.config.source import Source
from dynvit.context import Context
from dynvit.train.checkpointing import checkpoint_stage, save_checkpoint
from dynvit.train.distributed import ProcessGroup
from dynvit.train.loop import fit
from dynvit.train.result import measure
from dynvit.train.session import training_session
from dynvit.train.state import Clock, build, build_state
from dynvit.train.warnings import log_warnings

SOURCE, TARGET = "source", "target"


class SourceResult(NamedTuple):
    """Weights, on the CPU, and last top-1 accuracy of the training on the source."""

    weights: Mapping[str, Tensor]
    top1: float


def run(config: Config, context: Context) -> dict[str, Any]:
    """Train on the source unless that is done, then on the data; return the second training's result."""
    clock, checkpoint = Clock(), context.load()
    resumes_target = checkpoint_stage(checkpoint) == TARGET
    with training_session(config.train, context) as group:
        source = None
        if not resumes_target:
            source = train_source(config, StageContext(context, config, SOURCE, checkpoint), group, clock)
        gc.collect()  # the source's images, optimizer and average, which are in reference cycles
        context = StageContext(context, config, TARGET, checkpoint if resumes_target else None)
        model, data = build(config, context)
        if source is not None:
            context.log_text(f"from the source: {transfer_weights(model, source.weights)}")
        state = build_state(model, data, config, context, group, clock, TARGET)
        if source is not None:
            state.progress.source = {"source_top1": source.top1}
        log_warnings(config, data, context)
        fit(state, data, config, context, group)
        return measure(state, data, config, context, group)


def train_source(config: Config, context: Context, group: ProcessGroup, clock: Clock) -> SourceResult:
    """Train on the source's data with the options of the trial."""
    config = source_config(config)
    model, data = build(config, context)
    load_initial_weights(model, InitSpec.parse(config.init), config.model["name"], context.log_text)
    state = build_state(model, data, config, context, group, clock, SOURCE)
    log_warnings(config, data, context)
    fit(state, data, config, context, group)
    save_checkpoint(state, context, group)  # the source is not trained again, however soon the trial stops
    weights = {name: tensor.detach().cpu().clone() for name, tensor in state.eval_model.state_dict().items()}
    return SourceResult(weights, state.progress.last["top1"])


def source_config(config: Config) -> Config:
    """Return the config of the training on the source."""
    train = replace(config.train, epochs=config.source.epochs)
    return replace(config, data=config.source.data, train=train, source=Source(), keep_checkpoint=False)


class StageContext:
    """The trial's context as one of the two trainings sees it: its part of the curve, its checkpoint or none."""

    def __init__(self, context: Context, config: Config, stage: str, checkpoint: Path | None) -> None:
        self._context, self._checkpoint = context, checkpoint
        self._steps = config.source.epochs + config.train.epochs
        self._offset = 0 if stage == SOURCE else config.source.epochs
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        prefix = "source." if self._stage == SOURCE else ""
        self._context.log(self._offset + step, {prefix + k: v for k, v in metrics.items()}, steps=self._steps)

    def log_text(self, text: str) -> None:
        self._context.log_text(f"source: {text}" if self._stage == SOURCE else text)

    def load(self) -> Path | None:
        return self._checkpoint
