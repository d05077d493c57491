"""Validation accuracy, token activity and speed, in eval mode and gathered execution."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.config.evaluation import MOST_COMPARED, warm_up
from dynvit.data.batches import Batches
from dynvit.data.sampling import SINGLE_PROCESS
from dynvit.macs import evaluating
from dynvit.tokens import TokenTrace, trace_tokens
from dynvit.train.distributed import ProcessGroup
from dynvit.train.metrics import NotFinite
from dynvit.train.own_code.metrics import Answers


@dataclass(frozen=True)
class Validation:
    """Loss, top1 and top5 (percent) over all images; token activity over the traced ones."""

    loss: float
    top1: float
    top5: float
    images_per_second: float
    own: dict[str, float] = field(default_factory=dict)
    """Metrics of own code."""
    active: list[float] = field(default_factory=list)
    """Share of active tokens per layer; empty for a model without token trace."""
    depth: float | None = None
    """Number of layers in which a token is processed, mean over tokens and images."""

    def scores(self) -> dict[str, float]:
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5, **self.own}

    def active_share(self) -> float:
        return sum(self.active) / len(self.active)

    def token_metrics(self) -> dict[str, float]:
        return {} if self.depth is None else {"mean_depth": self.depth, "active_share": self.active_share()}

    def events(self) -> dict[str, float]:
        """Return values by event key. `images_per_second` is of this pass; the result's is measured separately."""
        active = {f"active.layer{i:02d}": share for i, share in enumerate(self.active)}
        if active:
            active["active.mean"] = self.active_share()
        return (
            {f"val.{key}": value for key, value in self.scores().items()}
            | active
            | {"images_per_second": self.images_per_second}
        )


class TokenActivity:
    """Sums of token activity over traced batches."""

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

    def cpu(self) -> TokenActivity:
        """Move to the CPU."""
        self.layers = [layer.cpu() for layer in self.layers]
        self.depth = float(self.depth)
        return self

    def shares(self) -> list[float]:
        return (torch.stack(self.layers) / self.images).tolist() if self.layers else []


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Batches,
    traced_images: int,
    amp: torch.dtype | None,
    group: ProcessGroup | None = None,
    choosing: bool = False,
) -> Validation:
    """Evaluate on the validation images; the first `traced_images` (rounded up to batches) are traced.

    choosing: on the images for choosing an epoch instead. With several processes each evaluates a shard, and all
    return the result over all images.
    """
    activity, answers, started, seen = TokenActivity(), Answers(), time.perf_counter(), 0
    rank, world = shard = SINGLE_PROCESS if group is None else group.shard
    stride = 0 if world == 1 else data.validation_batch_size
    sums = torch.zeros(4, dtype=torch.float64)
    traceable, batches = can_trace(model), data.choosing if choosing else data.validation
    with evaluating(model):
        for x_BCSS, target_B in batches() if world == 1 else batches(shard):
            traced = traceable and seen * world + rank * stride < traced_images
            with trace_tokens(model) if traced else nullcontext() as trace, autocast(x_BCSS.device.type, amp):
                logits_BK = model(x_BCSS).float()
            if trace is not None:
                activity.add(trace)
            answers.add(logits_BK, target_B)
            sums = sums.to(logits_BK.device) + _sums(logits_BK, target_B)
            seen += len(target_B)
    if group is not None and world > 1:
        sums, seen, activity = _merge(group.all_gather((sums.cpu(), seen, activity.cpu())))
    if not seen:
        raise ValueError(f"none of the {'choosing (data.choose)' if choosing else 'validation'} images can be read")
    if sums[0].isnan():
        raise NotFinite(
            f"the validation loss is nan: the model's outputs for {int(sums[3])} of {seen} images are no numbers"
        )
    loss, top1, top5, _ = (sums / seen).tolist()
    speed = seen / (time.perf_counter() - started)
    depth = float(activity.depth) / activity.images if activity.images else None
    return Validation(loss, 100 * top1, 100 * top5, speed, answers.metrics(group), activity.shares(), depth)


@torch.no_grad()
def generalization_gap(model: nn.Module, data: Batches, right_N: Tensor, amp: torch.dtype | None) -> float:
    """Return top-1 on training images, not augmented, minus that on as many validation images, in points.

    right_N: ``bool[N]``, whether each validation image's class is predicted.
    """
    count = min(data.steps * data.batch_size, data.validation_size, MOST_COMPARED)
    right = images = 0
    with evaluating(model):
        for x_BCSS, target_B in data.seen(count):
            kept = min(len(target_B), count - images)
            with autocast(x_BCSS.device.type, amp):
                right += int((predicted(model(x_BCSS[:kept])) == target_B[:kept]).sum())
            images += kept
            if images == count:
                break
    unseen_N = right_N[:count]
    return 100 * right / images - 100 * int(unseen_N.sum()) / len(unseen_N)


def _merge(parts: list[tuple[Tensor, int, TokenActivity]]) -> tuple[Tensor, int, TokenActivity]:
    """Add what the processes found."""
    activity = TokenActivity()
    for _, _, part in parts:
        activity.images += part.images
        activity.depth = activity.depth + part.depth
        longest = max(len(activity.layers), len(part.layers))
        both = ([*x.layers, *[torch.zeros(())] * (longest - len(x.layers))] for x in (activity, part))
        activity.layers = [a + b for a, b in zip(*both, strict=True)]
    return sum((sums for sums, _, _ in parts), torch.zeros(4, dtype=torch.float64)), sum(p[1] for p in parts), activity


def _sums(logits_BK: Tensor, target_B: Tensor) -> Tensor:
    """Return the summed loss, top-1 and top-5 hits, and the number of images whose loss cannot be computed."""
    hits_B5 = _best(logits_BK) == target_B[:, None]
    loss = F.cross_entropy(logits_BK, target_B, reduction="sum")
    lost_B = (logits_BK.isnan() | logits_BK.isposinf()).any(1)
    return torch.stack([loss.double(), *(each.sum().double() for each in (hits_B5[:, 0], hits_B5.any(1), lost_B))])


def _best(logits_BK: Tensor) -> Tensor:
    """Return the classes of the highest logits, five or all, the highest first."""
    return logits_BK.float().topk(min(5, logits_BK.shape[1]), dim=1).indices


def predicted(logits_BK: Tensor) -> Tensor:
    """Return the class ``int64[B]`` that counts as the answer in top-1: of equal logits, which are common in half
    precision, `argmax` may give another."""
    return _best(logits_BK)[:, 0]


def can_trace(model: nn.Module) -> bool:
    """Return whether the model records its tokens."""
    try:
        with trace_tokens(model):
            return True
    except ValueError:
        return False


@torch.no_grad()
def throughput(model: nn.Module, x_BCSS: Tensor, batches: int, amp: torch.dtype | None) -> float:
    """Return images per second: the median over `batches` passes after a warm-up of a quarter as many."""
    seconds = []
    with evaluating(model), autocast(x_BCSS.device.type, amp):
        for _ in range(batches + warm_up(batches)):
            _synchronize(x_BCSS.device)
            started = time.perf_counter()
            model(x_BCSS)
            _synchronize(x_BCSS.device)
            seconds.append(time.perf_counter() - started)
    return len(x_BCSS) / statistics.median(seconds[-batches:])


@contextmanager
def autocast(device: str, amp: torch.dtype | None) -> Iterator[None]:
    with torch.autocast(device, dtype=amp) if amp else nullcontext():
        yield


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
