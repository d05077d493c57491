"""What one training step of a model takes, per image: counted in one forward pass in train mode, on any machine.

Memory is what autograd keeps for the backward pass, which grows with the batch; once as it is in float32 and once under
bfloat16 autocast. `studies plan` reckons with these numbers before a GPU is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dynvit.interface import interface_of
from dynvit.models.build import build_model
from dynvit.profiling.macs import count_macs
from dynvit.rng import own_stream

BATCH = 4
"""Enough for batch normalisation and for mixing images."""


def weigh(options: Mapping[str, Any], size: int, channels: int, classes: int) -> dict[str, float]:
    """params, and of one image in training: forward macs, bytes kept for the backward pass (in float32, under bfloat16
    autocast); ops: operators of one forward pass of a batch."""
    with own_stream(0, "weigh"):
        model = build_model(options, num_classes=classes, in_chans=channels, img_size=size).train()
        interface_of(model).set_epoch(0, 1)
        x_BCSS = torch.randn(BATCH, channels, size, size)
        with torch.no_grad(), count_macs() as counter, Operators() as operators:
            model(x_BCSS)
        saved, saved_amp = (growth(model, x_BCSS, amp) for amp in (False, True))
    return {
        "params": float(sum(p.numel() for p in model.parameters())),
        "macs": counter.macs / BATCH,
        "saved": saved,
        "saved_amp": saved_amp,
        "ops": float(operators.count),
    }


class Operators(TorchDispatchMode):
    """How many operators reach the dispatcher: about the kernels that a GPU is told to start."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def growth(model: nn.Module, x_BCSS: Tensor, amp: bool) -> float:
    """Bytes that another image adds; what is kept once a step, such as weights in bfloat16, drops out."""
    half = len(x_BCSS) // 2
    return (kept_bytes(model, x_BCSS, amp) - kept_bytes(model, x_BCSS[:half], amp)) / half


def kept_bytes(model: nn.Module, x_BCSS: Tensor, amp: bool) -> int:
    """Of everything that autograd would keep until the backward pass, each storage once, without the parameters."""
    kept = Kept(model)
    with (
        torch.autograd.graph.saved_tensors_hooks(kept.note, lambda nothing: nothing),
        torch.autocast("cpu", dtype=torch.bfloat16) if amp else nullcontext(),
    ):
        model(x_BCSS)
    return kept.bytes


class Kept:
    """Notes what is saved and lets it go, as there will be no backward pass: a model of a thousand layers fits too."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes = 0
        self.own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        self.alive: dict[int, StorageWeakRef] = {}

    def note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        before = self.alive.get(place)
        if place not in self.own and (before is None or before.expired()):
            self.alive[place] = StorageWeakRef(storage)
            self.bytes += storage.nbytes()
