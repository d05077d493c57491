"""Metrics of own code (`dynvit.register_metric`): numbers of all validation logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynvit.config.extensions import METRICS, Metric
from dynvit.context import permanent_errors
from dynvit.plugins.modules import blame, defined_at
from dynvit.rng import own_stream
from dynvit.train.distributed import ProcessGroup


class MetricError(ValueError):
    """A metric fails, or is no finite number."""


class NotFiniteMetric(MetricError):
    """A metric is no finite number."""


UNKNOWN = (2, 10)
"""Numbers of classes that metrics are tried with where the data has not said its own."""
MOST_TRIED = 4000
"""Images that metrics are tried with at most."""


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


def metric_fault(classes: int | None) -> str:
    """Return why a metric cannot be used, for planning: it is called with made logits; empty if all can.

    classes: of the data; None where that is not known, then only what fails for two numbers of classes is a fault.
    """
    for metric in METRICS.values():
        found = [_fault(metric, number) for number in ((classes,) if classes else UNKNOWN)]
        if all(found):
            return found[-1]
    return ""


def _fault(metric: Metric, classes: int) -> str:
    """Return what is wrong with a metric on random logits, where every class is a target twice if they are not many."""
    count = min(2 * classes, MOST_TRIED)
    with own_stream(0, "metric"):
        logits, target = torch.randn(count, classes), torch.arange(count) % classes
        try:
            _value(metric, logits, target, "made logits")
        except NotFiniteMetric as error:
            return str(error) if count >= 2 * classes else ""  # a class without image may be the reason
        except MetricError as error:
            return str(error)
    return ""


def _compute(logits_NK: Tensor, target_N: Tensor) -> dict[str, float]:
    return {name: _value(metric, logits_NK, target_N) for name, metric in METRICS.items()}


def _value(metric: Metric, logits_NK: Tensor, target_N: Tensor, of: str = "logits") -> float:
    shapes = f"{of} {list(logits_NK.shape)} and targets {list(target_N.shape)}"
    label = f"the metric {metric.name} ({defined_at(metric.make)}), of {shapes},"
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
        raise NotFiniteMetric(f"{label} is {value}")
    return value
