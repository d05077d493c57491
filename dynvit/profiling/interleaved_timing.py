"""Two models timed in turn in one process, so that whatever disturbs the machine disturbs both alike."""

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
    """Of one forward pass. cpu: of this process, all its threads; 0 where nothing is computed there."""

    wall: float
    cpu: float = 0.0

    @property
    def fair(self) -> float:
        """What ratios are made of: on the CPU its own time, which other processes do not lengthen."""
        return self.cpu or self.wall


@dataclass(frozen=True)
class Race:
    """Rounds of a model and its rival, one right after the other."""

    ours: tuple[Seconds, ...]
    theirs: tuple[Seconds, ...]

    def speedup(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile of the rounds' ratios; above 1 ours is faster."""
        return quartiles([b.fair / a.fair for a, b in zip(self.ours, self.theirs, strict=True)])

    def rates(self, batch: int) -> tuple[float, float]:
        """Images per second of both, by the median of wall-clock time."""
        return rate(self.ours, batch), rate(self.theirs, batch)


def race(ours: Call, theirs: Call | None, images: Tensor, rounds: int, warmup: int, inference: bool = True) -> Race:
    """Without a rival only `ours` runs. inference: torch's inference mode, which not every compiled model bears."""
    calls = [ours] if theirs is None else [ours, theirs]
    with torch.inference_mode() if inference else torch.no_grad():
        for _ in range(max(1, warmup)):
            for call in calls:
                timed(call, images)
        taken = [[timed(call, images) for call in calls] for _ in range(rounds)]
    return Race(tuple(row[0] for row in taken), tuple(row[-1] for row in taken))


def timed(call: Call, images: Tensor) -> Seconds:
    """One pass, the device idle before and after."""
    _wait(images)
    cpu, wall = time.process_time(), time.perf_counter()
    call(images)
    _wait(images)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Seconds(wall, 0.0 if images.is_cuda else cpu)


def largest(fits: Callable[[int], bool], limit: int) -> int:
    """The largest power of two, at most `limit`, that fits, all smaller ones fitting too; 0: none."""
    batch, found = 1, 0
    while batch <= limit and fits(batch):
        batch, found = 2 * batch, batch
    return found


def runs(models: Sequence[nn.Module], image_1CHW: Tensor, batch: int) -> bool:
    """Whether each of the models runs at this batch in the GPU's memory. A CPU would begin to swap: there never."""
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


def _wait(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
