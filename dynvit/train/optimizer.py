"""Optimizer and learning-rate schedule by timm's factories, stepped once per update."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynvit.config.train import Train
from dynvit.interface import interface_of

FUSED = ("adamw", "adam", "sgd")  # torch's own implementations update all parameters in one kernel, on the CPU too
SCHEDULES: dict[str, dict[str, Any]] = {
    "cosine": {"sched": "cosine"},
    "linear": {"sched": "poly", "decay_rate": 1.0},
    "constant": {"sched": "step", "decay_rate": 1.0},
}


def build_optimizer(model: nn.Module, options: Train) -> torch.optim.Optimizer:
    """Build the optimizer; biases, norms and parameters in the model's `no_weight_decay` are not decayed.

    A model with `parameter_groups(weight_decay)` defines its own groups, with learning rates (`lr_scale`) and decay.
    With `layer_decay` earlier layers have smaller learning rates, by timm's grouping of the model's layers.
    Raises ValueError if it has one group only.
    """
    from timm.optim import create_optimizer_v2

    extra: dict[str, Any] = {} if options.optimizer == "sgd" else {"betas": tuple(options.betas)}
    plain_sgd = options.optimizer == "sgd" and not options.momentum  # timm's sgd is Nesterov's, which needs a momentum
    if options.optimizer in FUSED:
        extra["fused"] = True
    groups = interface_of(model).parameter_groups(options.weight_decay)
    if options.layer_decay is not None:
        if groups:
            raise ValueError(f"train.layer_decay: {type(model).__name__} has learning rates of its own for its layers")
        extra["layer_decay"] = options.layer_decay
    optimizer = create_optimizer_v2(
        groups or model,
        opt="momentum" if plain_sgd else options.optimizer,
        lr=options.peak_lr,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        **extra,
    )
    if options.layer_decay not in (None, 1) and len({group["lr_scale"] for group in optimizer.param_groups}) == 1:
        raise ValueError(
            f"train.layer_decay has no effect on {type(model).__name__}, whose layers timm does not know: it needs the "
            "method group_matcher, as timm's models have"
        )
    return optimizer


def build_scheduler(optimizer: torch.optim.Optimizer, options: Train, steps: int) -> Any:
    """Build a timm scheduler over `options.epochs` epochs of `steps` updates, warm-up included."""
    from timm.scheduler import create_scheduler_v2

    if 0 < options.epochs < options.warmup_epochs:
        raise ValueError(f"train.warmup_epochs {options.warmup_epochs} is more than train.epochs {options.epochs}")
    schedule, _ = create_scheduler_v2(
        optimizer,
        num_epochs=max(options.epochs, 1),  # 0: the model is only evaluated
        warmup_epochs=options.warmup_epochs if options.epochs else 0,
        warmup_lr=options.warmup_lr,
        min_lr=options.min_lr,
        step_on_epochs=False,
        updates_per_epoch=steps,
        **SCHEDULES[options.schedule],
    )
    return schedule
