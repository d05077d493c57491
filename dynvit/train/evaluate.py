"""Validation accuracy, which tokens were active, and speed: always in eval mode and gathered execution."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.data import WHOLE, Batches
from dynvit.profiling.macs import evaluating
from dynvit.tokens import TokenTrace, trace_tokens

if TYPE_CHECKING:
    from dynvit.train.distributed import Together


@dataclass(frozen=True)
class Validation:
    """loss, top1 and top5 (percent) over all images; the activity of tokens over the traced ones."""

    loss: float
    top1: float
    top5: float
    images_per_second: float
    active: list[float] = field(default_factory=list)
    """Share of active tokens, per layer; empty where a model has no tokens to follow."""
    depth: float | None = None
    """Layers that a token is processed in, mean over tokens and images."""

    def scores(self) -> dict[str, float]:
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5}

    def active_share(self) -> float:
        return sum(self.active) / len(self.active)

    def events(self) -> dict[str, float]:
        """By event key. `images_per_second` is of this pass; the result's is measured apart."""
        active = {f"active.layer{i:02d}": share for i, share in enumerate(self.active)}
        if active:
            active["active.mean"] = self.active_share()
        return (
            {f"val.{key}": value for key, value in self.scores().items()}
            | active
            | {"images_per_second": self.images_per_second}
        )


class Activity:
    """Sums over traced batches."""

    def __init__(self) -> None:
        self.images = 0
        self.layers: list[Tensor] = []
        self.depth: Tensor | float = 0.0

    def add(self, trace: TokenTrace) -> None:
        if not trace.active:
            return
        self.images += len(trace.active[0])
        for i, active_BN in enumerate(trace.active):  # a batch may end early: later layers then count as empty
            total = active_BN.float().mean(1).sum().double()
            if i < len(self.layers):
                self.layers[i] = self.layers[i] + total
            else:
                self.layers.append(total)
        self.depth = self.depth + trace.depth.float().mean(1).sum().double()

    def plain(self) -> Activity:
        """The same on the CPU."""
        self.layers = [layer.cpu() for layer in self.layers]
        self.depth = float(self.depth)
        return self

    def shares(self) -> list[float]:
        return (torch.stack(self.layers) / self.images).tolist() if self.layers else []


@torch.no_grad()
def evaluate(
    model: nn.Module, data: Batches, traced_images: int, amp: torch.dtype | None, together: Together | None = None
) -> Validation:
    """One pass over the validation images; the first `traced_images` of them (whole batches) are traced. Several
    processes take a part each, and all get the whole result."""
    activity, started, seen = Activity(), time.perf_counter(), 0
    rank, world = part = WHOLE if together is None else together.part
    stride = 0 if world == 1 else data.validation_batch_size
    sums = torch.zeros(3, dtype=torch.float64)
    traceable = can_trace(model)
    with evaluating(model):
        for x_BCSS, target_B in data.validation() if world == 1 else data.validation(part):
            traced = traceable and seen * world + rank * stride < traced_images
            with trace_tokens(model) if traced else nullcontext() as trace, autocast(x_BCSS.device.type, amp):
                logits_BK = model(x_BCSS).float()
            if trace is not None:
                activity.add(trace)
            sums = sums.to(logits_BK.device) + _sums(logits_BK, target_B)
            seen += len(target_B)
    if together is not None and world > 1:
        sums, seen, activity = _joined(together.gathered((sums.cpu(), seen, activity.plain())))
    loss, top1, top5 = (sums / seen).tolist()
    speed = seen / (time.perf_counter() - started)
    depth = float(activity.depth) / activity.images if activity.images else None
    return Validation(loss, 100 * top1, 100 * top5, speed, activity.shares(), depth)


def _joined(parts: list[tuple[Tensor, int, Activity]]) -> tuple[Tensor, int, Activity]:
    """What the processes found, as one of them would have."""
    activity = Activity()
    for _, _, part in parts:
        activity.images += part.images
        activity.depth = activity.depth + part.depth
        longest = max(len(activity.layers), len(part.layers))
        both = ([*x.layers, *[torch.zeros(())] * (longest - len(x.layers))] for x in (activity, part))
        activity.layers = [a + b for a, b in zip(*both, strict=True)]
    return sum((sums for sums, _, _ in parts), torch.zeros(3, dtype=torch.float64)), sum(p[1] for p in parts), activity


def _sums(logits_BK: Tensor, target_B: Tensor) -> Tensor:
    """Summed loss, hits and hits among the first five."""
    best_B5 = logits_BK.topk(min(5, logits_BK.shape[1]), dim=1).indices
    hits_B5 = best_B5 == target_B[:, None]
    loss = F.cross_entropy(logits_BK, target_B, reduction="sum")
    return torch.stack([loss.double(), hits_B5[:, 0].sum().double(), hits_B5.any(1).sum().double()])


def can_trace(model: nn.Module) -> bool:
    try:
        with trace_tokens(model):
            return True
    except ValueError:
        return False


@torch.no_grad()
def throughput(model: nn.Module, x_BCSS: Tensor, batches: int, amp: torch.dtype | None) -> float:
    """Images per second of one batch, median over `batches` timed passes after a warm-up of a quarter as many."""
    seconds = []
    with evaluating(model), autocast(x_BCSS.device.type, amp):
        for _ in range(batches + max(2, batches // 4)):
            _wait(x_BCSS.device)
            started = time.perf_counter()
            model(x_BCSS)
            _wait(x_BCSS.device)
            seconds.append(time.perf_counter() - started)
    return len(x_BCSS) / statistics.median(seconds[-batches:])


@contextmanager
def autocast(device: str, amp: torch.dtype | None) -> Iterator[None]:
    with torch.autocast(device, dtype=amp) if amp else nullcontext():
        yield


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
