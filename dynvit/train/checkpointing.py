"""The checkpoint of a training: everything that decides what comes next, so that a resumed trial loses nothing."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dynvit.rng import random_states, seed_globally, set_random_states
from dynvit.train import ema
from dynvit.train.metrics import joined

if TYPE_CHECKING:
    from dynvit.train.training import Training

SCHEMA = 1


@dataclass
class Progress:
    """How far a training has come."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Batches of the epoch under way that have been trained on."""
    lr: float = 0.0
    """Of the last update."""
    best: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)
    """Mean depth and active share after the last finished epoch, where a model has them."""
    top1: list[float] = field(default_factory=list)
    """Of every finished epoch."""
    source: dict[str, float] = field(default_factory=dict)
    """What a training on other data, before this one, came to."""
    seconds: float = 0.0
    """Spent up to the checkpoint, by all attempts."""


class Clock:
    """Seconds spent on a trial over all its attempts."""

    def __init__(self) -> None:
        self.before, self.started = 0.0, time.perf_counter()

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started


def shared(training: Training) -> dict[str, Any]:
    """What every process has its own of; all of them must call it, rank 0 writes it."""
    training.tally.check(training.progress.epoch + 1)  # never keep weights that are already lost
    mine = {"random": random_states(training.device), "tally": training.tally.state()}
    first, *others = training.together.gathered(mine)
    return {**first, **({"ranks": others} if others else {})}


def write(training: Training, file: Path, shared: dict[str, Any]) -> None:
    """What `context.save` is given."""
    training.progress.seconds = training.clock.seconds()
    torch.save(
        {
            "schema": SCHEMA,
            **({"stage": training.stage} if training.stage else {}),
            "model": training.model.state_dict(),
            "optimizer": training.optimizer.state_dict(),
            "scheduler": training.scheduler.state_dict(),
            **shared,
            "progress": asdict(training.progress),
            **({} if training.teacher is None else {"teacher": training.teacher.state()}),
            **({} if training.average is None else {"average": ema.state(training.average)}),
            **({"scaler": training.scaler.state_dict()} if training.scaler.is_enabled() else {}),
        },
        file,
    )


def read(training: Training, file: Path) -> bool:
    """Continue from a checkpoint; False, with a word in the log, where it cannot be read."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        training.context.say(f"checkpoint {file.name} is damaged, starting over: {type(error).__name__}: {error}")
        return False
    if state.get("schema") != SCHEMA:
        training.context.say(f"checkpoint {file.name} is of another version, starting over")
        return False
    training.model.load_state_dict(state["model"])
    training.optimizer.load_state_dict(state["optimizer"])
    training.scheduler.load_state_dict(state["scheduler"])
    rank = training.together.rank
    if training.teacher is not None:
        training.teacher.load(state["teacher"])
    if training.average is not None:
        ema.load(training.average, state["average"])
    if "scaler" in state:
        training.scaler.load_state_dict(state["scaler"])
    training.progress = Progress(**state["progress"])
    if training.progress.epoch:  # where nothing is left to train, models must still stand in their last epoch
        training.announce(training.progress.epoch - 1)
    training.clock.before = training.progress.seconds
    states = [state, *state.get("ranks", [])]
    if len(states) == training.together.world:
        training.tally.load(states[rank]["tally"])
        set_random_states(states[rank]["random"], training.device)
    else:  # saved by another number of processes: nobody's draws repeat another's
        if rank == 0:
            training.tally.load(joined([each["tally"] for each in states]))
        seed_globally(training.context.seed, "drop", rank, training.progress.epoch, training.progress.step)
    training.context.say(f"resumed in epoch {training.progress.epoch + 1} after {training.progress.step} batches")
    return True


def keep_weights(training: Training, name: str, model: nn.Module | None = None) -> None:
    """The measured model's (or another's) tensors as safetensors in the trial's folder; config, epoch in the header."""
    from safetensors.torch import save_file

    if training.together.rank:
        return
    model, file = model or training.measured, training.context.folder / name
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    about = {"config": json.dumps(asdict(training.config)), "format": "pt", "epoch": str(training.progress.epoch)}
    save_file(state, temporary, metadata=about)
    os.replace(temporary, file)
