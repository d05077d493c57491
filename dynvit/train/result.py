"""Final measurements of a trained model: predictions, cost, speed, and the result of the trial."""

from __future__ import annotations

from typing import Any

import torch

from dynvit.analysis.accuracy_fluctuation import detrended_fluctuation, fluctuation
from dynvit.analysis.token_states import token_states
from dynvit.config.classify import Config
from dynvit.config.evaluation import warm_up
from dynvit.context import Context
from dynvit.data.batches import Batches, fitting
from dynvit.macs import complexity, evaluating
from dynvit.models.build import build_model
from dynvit.profiling.interleaved_timing import time_pair
from dynvit.profiling.peak_memory import peak_mb
from dynvit.train.distributed import ProcessGroup
from dynvit.train.evaluate import autocast, can_trace, generalization_gap, throughput
from dynvit.train.predictions import FILE, packed, predictions
from dynvit.train.state import TrainState

MAX_NAMES = 20
"""Unreadable images whose names are part of the result."""


def measure(state: TrainState, data: Batches, config: Config, context: Context, group: ProcessGroup) -> dict[str, Any]:
    """Measure the final model and return the trial's result; ranks other than 0 return empty metrics."""
    if group.rank:
        return {"metrics": {}}
    model, evaluation, progress = state.eval_model, config.evaluation, state.progress
    predicted_N, target_N = predictions(model, data, state.amp)
    context.save_artifact(FILE, packed(predicted_N, target_N, data.classes))
    cost = complexity(model, data.sample(evaluation.counted_images))
    if config.reducer.get("name"):
        speed = against_backbone(state, data, config, cost.gmacs)
    else:
        images = data.sample(evaluation.timed_batch_size)
        speed = {"images_per_second": throughput(model, images, evaluation.timed_batches, state.amp)}
    calm = {f.__name__: f(progress.top1, config.train.epochs) for f in (fluctuation, detrended_fluctuation)}
    tokens = {}
    if evaluation.traced_images and can_trace(model):
        tokens = token_states(model, data.sample(evaluation.traced_images).split(evaluation.batch_size))
    gap = generalization_gap(model, data, predicted_N == target_N, state.amp)
    seconds = state.clock.seconds()
    corrupt = data.corrupt.found if config.data.max_corrupt else None
    return {
        "metrics": {
            "best": dict(progress.best),
            "last": dict(progress.last),
            "gflops": cost.gmacs,
            "params_m": cost.params / 1e6,
            **speed,
            **progress.extra,
            **progress.source,
            **({} if corrupt is None else {"corrupt_images": float(len(corrupt))}),
            **{name: value for name, value in calm.items() if value is not None},
            "generalization_gap": gap,
            **tokens,
        },
        "cost": {
            "seconds": seconds,
            "gpu_seconds": seconds * group.world if state.device.startswith("cuda") else 0.0,
            "peak_memory_mb": peak_mb(state.device),
            "params": cost.params,
            "gflops": cost.gmacs,
        },
        **({} if corrupt is None else {"left_out": sorted(corrupt)[:MAX_NAMES]}),
        **({"data": remark_counts(data)} if data.remarks else {}),
    }


def against_backbone(state: TrainState, data: Batches, config: Config, gmacs: float) -> dict[str, float]:
    """Return cost and speed of a reduced model over those of the same model with all its tokens, timed in turn.

    speedup: median of the rounds, with their quartiles. share: the speed-up over the ratio of multiply-accumulates.
    """
    evaluation, model = config.evaluation, state.eval_model
    backbone = build_model(config.model, **fitting("model", config.model, data))
    backbone.to(
        state.device, memory_format=torch.channels_last if config.train.channels_last else torch.preserve_format
    )
    images, rounds = data.sample(evaluation.timed_batch_size), evaluation.timed_batches
    ratio = complexity(backbone, data.sample(1)).gmacs / gmacs
    with evaluating(model), evaluating(backbone), autocast(images.device.type, state.amp):
        timing = time_pair(model, backbone, images, rounds, warm_up(rounds))
    low, middle, high = timing.speedup()
    return {
        "images_per_second": timing.rates(len(images))[0],
        "mac_ratio": ratio, "trunk_gflops": ratio * gmacs,
        "speedup": middle, "speedup_low": low, "speedup_high": high, "share": middle / ratio,
    }  # fmt: skip


def remark_counts(data: Batches) -> dict[str, dict[str, int]]:
    """Return by split, or root of both, how many entries of each kind the listing of the data set left out."""
    counts: dict[str, dict[str, int]] = {}
    for remark in data.remarks:
        counts.setdefault(remark.where, {})[remark.kind] = remark.count
    return counts
