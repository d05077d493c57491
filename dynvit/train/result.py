"""Final measurements of a trained model: predictions, cost, speed, and the result of the trial."""

from __future__ import annotations

from typing import Any

from dynvit.analysis.accuracy_fluctuation import fluctuation
from dynvit.config.classify import Config
from dynvit.context import Context
from dynvit.data.batches import Batches
from dynvit.macs import complexity
from dynvit.profiling.peak_memory import peak_mb
from dynvit.train.distributed import ProcessGroup
from dynvit.train.evaluate import throughput
from dynvit.train.predictions import FILE, predictions
from dynvit.train.state import TrainState

MAX_NAMES = 20
"""Unreadable images whose names are part of the result."""


def measure(state: TrainState, data: Batches, config: Config, context: Context, group: ProcessGroup) -> dict[str, Any]:
    """Measure the final model and return the trial's result; ranks other than 0 return empty metrics."""
    if group.rank:
        return {"metrics": {}}
    model, evaluation, progress = state.eval_model, config.evaluation, state.progress
    context.save_artifact(FILE, predictions(model, data, state.amp))
    cost = complexity(model, data.sample(evaluation.counted_images))
    speed = throughput(model, data.sample(evaluation.timed_batch_size), evaluation.timed_batches, state.amp)
    seconds, spread = state.clock.seconds(), fluctuation(progress.top1, config.train.epochs)
    corrupt = data.corrupt.found if config.data.max_corrupt else None
    return {
        "metrics": {
            "best": dict(progress.best),
            "last": dict(progress.last),
            "gflops": cost.gmacs,
            "params_m": cost.params / 1e6,
            "images_per_second": speed,
            **progress.extra,
            **progress.source,
            **({} if corrupt is None else {"corrupt_images": float(len(corrupt))}),
            **({} if spread is None else {"fluctuation": spread}),
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


def remark_counts(data: Batches) -> dict[str, dict[str, int]]:
    """Return by split, or root of both, how many entries of each kind the listing of the data set left out."""
    counts: dict[str, dict[str, int]] = {}
    for remark in data.remarks:
        counts.setdefault(remark.where, {})[remark.kind] = remark.count
    return counts
