"""Metrics of own code (`dynvit.register_metric`): numbers of all validation logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynvit.config.extensions import METRICS, Metric
from dynvit.context import permanent_errors
from dynvit.plugins.modules import blame
from dynvit.train.distributed import ProcessGroup


class MetricError(ValueError):
    """A metric fails, or is no finite number."""


class Answers:
    """The logits of an evaluation and the classes, batch by batch; nothing is kept without own metrics."""

    def __init__(self) -> None:
        self.batches: list[tuple[Tensor, Tensor]] = []

    def add(self, logits_BK: Tensor, target_B: Tensor) -> None:
        if METRICS:
            self.batches.append((logits_BK.cpu(), target_B.cpu()))

    def metrics(self, group: ProcessGroup | None) -> dict[str, float]:
        """Return every metric over the batches of all processes, which hold them in turn; rank 0 computes.

        Raises MetricError, in every process.
        """
        if not METRICS:
            return {}
        parts = [self.batches] if group is None else group.gather(self.batches)
        found: tuple[dict[str, float], str] = ({}, "")
        if parts is not None:
            longest = max(len(part) for part in parts)
            whole = [part[i] for i in range(longest) for part in parts if i < len(part)]
            try:
                found = _compute(*(torch.cat(tensors) for tensors in zip(*whole, strict=True))), ""
            except MetricError as error:
                found = {}, str(error)
        values, fault = found if group is None else group.all_gather(found)[0]
        if fault:
            with permanent_errors():
                raise MetricError(fault)
        return values


def _compute(logits_NK: Tensor, target_N: Tensor) -> dict[str, float]:
    return {name: _value(metric, logits_NK, target_N) for name, metric in METRICS.items()}


def _value(metric: Metric, logits_NK: Tensor, target_N: Tensor) -> float:
    label = f"the metric {metric.name}, of logits {list(logits_NK.shape)} and targets {list(target_N.shape)},"
    try:
        returned = metric.make(logits_NK.clone(), target_N.clone())
    except Exception as error:
        raise MetricError(f"{label} fails: {blame(metric.make, error)}") from error
    try:
        value = float(returned)
    except (TypeError, ValueError, RuntimeError):
        shape = list(returned.shape) if isinstance(returned, Tensor) else ""
        raise MetricError(f"{label} returned {type(returned).__name__}{shape}, not a number") from None
    if not math.isfinite(value):
        raise MetricError(f"{label} is {value}")
    return value
