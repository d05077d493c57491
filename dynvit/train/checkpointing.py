"""Checkpoints that hold everything the next update depends on: a resumed trial gives the same numbers."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynvit.config.classify import Config
from dynvit.context import Context
from dynvit.rng import random_states, seed_globally, set_random_states
from dynvit.train.distributed import ProcessGroup
from dynvit.train.metrics import merge_states
from dynvit.train.state import TrainState

SCHEMA = 1


def save_checkpoint(state: TrainState, context: Context, group: ProcessGroup) -> None:
    """Write a checkpoint. All processes must call it; rank 0 writes, with the random states of all."""
    state.metrics.check(state.progress.epoch + 1)  # never save weights that are already lost
    mine = {"random": random_states(state.device), "tally": state.metrics.state(), "corrupt": state.corrupt.state()}
    first, *others = group.all_gather(mine)
    ranks = {"ranks": others} if others else {}
    context.save(lambda file: torch.save({"schema": SCHEMA, **state.state_dict(), **first, **ranks}, file))


def load_checkpoint(
    file: Path, state: TrainState, steps: int, config: Config, context: Context, group: ProcessGroup
) -> bool:
    """Continue from a checkpoint; return False, and log the reason, if it cannot be read. steps: updates per epoch."""
    try:
        saved: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        context.log_text(f"checkpoint {file.name} is damaged, starting over: {type(error).__name__}: {error}")
        return False
    if saved.get("schema") != SCHEMA:
        context.log_text(f"checkpoint {file.name} is of another version, starting over")
        return False
    state.load_state_dict(saved)
    progress = state.progress
    if progress.epoch:  # models must be in their last epoch even if nothing is left to train
        state.notify_schedules(progress.epoch - 1, steps, config.train.epochs, steps)
    ranks = [saved, *saved.get("ranks", [])]
    state.corrupt.load(each["corrupt"] for each in ranks if "corrupt" in each)  # older checkpoints have none
    if len(ranks) == group.world:
        state.metrics.load(ranks[group.rank]["tally"])
        set_random_states(ranks[group.rank]["random"], state.device)
    else:  # saved by another number of processes: reseed, so that no two processes draw the same numbers
        if group.rank == 0:
            state.metrics.load(merge_states([each["tally"] for each in ranks]))
        seed_globally(context.seed, "drop", group.rank, progress.epoch, progress.step)
    context.log_text(f"resumed in epoch {progress.epoch + 1} after {progress.step} batches")
    return True


def checkpoint_stage(file: Path | None) -> str:
    """Return the stage that a checkpoint belongs to; empty if there is none or it cannot be read."""
    if file is None:
        return ""
    try:
        state = torch.load(str(file), map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # whatever torch's unpickler meets; `load_checkpoint` logs it
        return ""
    return str(state.get("stage", "")) if state.get("schema") == SCHEMA else ""


def save_weights(
    name: str, model: nn.Module, state: TrainState, config: Config, context: Context, group: ProcessGroup
) -> None:
    """Save a model's tensors as safetensors in the trial's folder; the header has config, epoch and what followed from
    the data, from which `load_trial` builds the model."""
    from safetensors.torch import save_file

    if group.rank:
        return
    file = context.folder / name
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in model.state_dict().items()}
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    about = {"config": json.dumps(asdict(config)), "data": json.dumps(state.of_data)}
    header = {**about, "format": "pt", "epoch": str(state.progress.epoch)}
    save_file(tensors, temporary, metadata=header)
    os.replace(temporary, file)
