"""Two models timed alternately in one process, so that other load on the machine affects both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Call = Callable[[Tensor], object]


@dataclass(frozen=True)
class Seconds:
    """Time of one forward pass. cpu: of this process, all its threads; 0 for a model on a GPU."""

    wall: float
    cpu: float = 0.0

    @property
    def cpu_or_wall(self) -> float:
        """The time for ratios: on the CPU process time, which other processes do not lengthen."""
        return self.cpu or self.wall


@dataclass(frozen=True)
class PairedTiming:
    """Rounds of a model and its baseline, one right after the other."""

    model: tuple[Seconds, ...]
    baseline: tuple[Seconds, ...]

    def speedup(self) -> tuple[float, float, float]:
        """Return lower quartile, median and upper quartile of the rounds' ratios; above 1 the model is faster."""
        return quartiles([b.cpu_or_wall / a.cpu_or_wall for a, b in zip(self.model, self.baseline, strict=True)])

    def rates(self, batch: int) -> tuple[float, float]:
        """Return images per second of both, by the median wall-clock time."""
        return rate(self.model, batch), rate(self.baseline, batch)


def time_pair(
    model: Call, baseline: Call | None, images: Tensor, rounds: int, warmup: int, inference: bool = True
) -> PairedTiming:
    """Time both, or without a baseline only the model.

    inference: use torch's inference mode, which not every compiled model supports.
    """
    calls = [model] if baseline is None else [model, baseline]
    with torch.inference_mode() if inference else torch.no_grad():
        for _ in range(max(1, warmup)):
            for call in calls:
                timed(call, images)
        rows = [[timed(call, images) for call in calls] for _ in range(rounds)]
    return PairedTiming(tuple(row[0] for row in rows), tuple(row[-1] for row in rows))


def timed(call: Call, images: Tensor) -> Seconds:
    """Time one pass, with the device idle before and after."""
    _synchronize(images)
    cpu, wall = time.process_time(), time.perf_counter()
    call(images)
    _synchronize(images)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Seconds(wall, 0.0 if images.is_cuda else cpu)


def largest_batch(fits: Callable[[int], bool], limit: int) -> int:
    """Return the largest power of two up to `limit` for which it and all smaller ones fit; 0: none."""
    batch, found = 1, 0
    while batch <= limit and fits(batch):
        batch, found = 2 * batch, batch
    return found


def fits_in_memory(models: Sequence[nn.Module], image_1CHW: Tensor, batch: int) -> bool:
    """Return whether each model runs at this batch size on the GPU; always False on a CPU, which would swap."""
    if not image_1CHW.is_cuda:
        return False
    try:
        with torch.inference_mode():
            for model in models:
                model(image_1CHW.expand(batch, -1, -1, -1).contiguous())
            torch.cuda.synchronize(image_1CHW.device)
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        torch.cuda.empty_cache()
    return True


def rate(passes: Sequence[Seconds], batch: int) -> float:
    return batch / statistics.median(p.wall for p in passes)


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _synchronize(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
