"""Transfer: two trainings in one trial, the first on other data (`source`), the second from its weights.

Both are a `Training`, so that everything it can do holds for both. Optimiser, schedule, average and teacher are new for
the second, and so is the classifier. The curve is one: the source's epochs first, under keys of their own. A checkpoint
says whose it is, so that an attempt goes on where the one before was and never trains the source twice.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dynvit.checkpoint.initial_weights import hand_over
from dynvit.context import Context
from dynvit.train.checkpointing import SCHEMA
from dynvit.train.training import Training

if TYPE_CHECKING:
    from dynvit.tasks.classify import Config

SOURCE, TARGET = "source", "target"


def run(config: Config, context: Context) -> dict[str, Any]:
    """Train on the source, or as far as that has not been done, then on the data; the second training's result."""
    file = context.load()
    reached, epochs = stage_of(file), (config.source.epochs, config.train.epochs)
    second = Second(config, Stage(context, TARGET, epochs, file if reached == TARGET else None))
    with second.set_up():
        if reached != TARGET:
            second.follow(First(on_source(config), Stage(context, SOURCE, epochs, file), second.together))
            gc.collect()  # the source's images, optimiser and average: objects that know each other
        second.train()
        return second.finish()


def on_source(config: Config) -> Config:
    """The same recipe on the source's data."""
    return replace(
        config,
        data=config.source.data,
        train=replace(config.train, epochs=config.source.epochs),
        source=type(config.source)(),
        keep_checkpoint=False,
    )


def stage_of(file: Path | None) -> str:
    """Which training a checkpoint is of; empty for none, and for one that cannot be read."""
    if file is None:
        return ""
    try:
        state = torch.load(str(file), map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whatever torch's unpickler meets; the first training says it
        return ""
    return str(state.get("stage", "")) if state.get("schema") == SCHEMA else ""


class Stage:
    """The trial's context as one of the two sees it: its place in the curve, its checkpoint or none."""

    def __init__(self, context: Context, name: str, epochs: tuple[int, int], found: Path | None) -> None:
        self._context, self._found = context, found
        self._total, self._before = sum(epochs), 0 if name == SOURCE else epochs[0]
        self._key, self._word = ("source.", "source: ") if name == SOURCE else ("", "")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def log(self, step: int, metrics: dict[str, float], *, steps: int | None = None) -> None:
        named = {self._key + key: value for key, value in metrics.items()}
        self._context.log(self._before + step, named, steps=self._total)

    def say(self, text: str) -> None:
        self._context.say(self._word + text)

    def load(self) -> Path | None:
        return self._found


class First(Training):
    """On the source."""

    stage = SOURCE

    def train(self) -> None:
        super().train()
        self._save()  # from here on it is not trained again, however soon the second is stopped


class Second(Training):
    """On the data, from the first one's weights or from a checkpoint of its own."""

    stage = TARGET
    given: Mapping[str, Tensor] | None = None

    def follow(self, first: Training) -> None:
        """Train the first to its end; keep what it measured in the end: its average where that is what counts."""
        first.train()
        self.given = {name: tensor.detach().cpu().clone() for name, tensor in first.measured.state_dict().items()}
        self.progress.source = {"source_top1": first.progress.last["top1"]}
        self.clock.before = first.clock.before  # this one's clock has run all the while

    def begin(self, model: nn.Module) -> None:
        if self.given is not None:
            self.context.say(f"from the source: {hand_over(model, self.given)}")
            self.given = None
