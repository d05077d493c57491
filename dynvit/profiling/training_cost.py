"""Cost of one training step per image: profiled in one forward pass in train mode, on any machine.

Memory is what autograd saves for the backward pass, which grows with the batch, in float32 and under bfloat16 autocast.
`studies plan` forecasts time and memory from these numbers.
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
from dynvit.macs import count_macs
from dynvit.models.build import build_model
from dynvit.rng import own_stream

BATCH = 4
"""Enough for batch normalisation and for mixing images."""


def profile_training(options: Mapping[str, Any], size: int, channels: int, classes: int) -> dict[str, float]:
    """Return params and, for one image in training, forward macs and bytes saved for the backward pass (in float32,
    under bfloat16 autocast); ops: operators of one forward pass of a batch."""
    with own_stream(0, "weigh"):
        model = build_model(options, num_classes=classes, in_chans=channels, img_size=size).train()
        interface_of(model).set_epoch(0, 1)
        x_BCSS = torch.randn(BATCH, channels, size, size)
        with torch.no_grad(), count_macs() as counter, OperatorCounter() as operators:
            model(x_BCSS)
        saved, saved_amp = (saved_bytes_per_image(model, x_BCSS, amp) for amp in (False, True))
    return {
        "params": float(sum(p.numel() for p in model.parameters())),
        "macs": counter.macs / BATCH,
        "saved": saved,
        "saved_amp": saved_amp,
        "ops": float(operators.count),
    }


class OperatorCounter(TorchDispatchMode):
    """Count operators that reach the dispatcher: approximately the kernels that a GPU launches."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def saved_bytes_per_image(model: nn.Module, x_BCSS: Tensor, amp: bool) -> float:
    """Return the bytes that one more image adds; what is saved once per step, such as bfloat16 weights, cancels out."""
    half = len(x_BCSS) // 2
    return (saved_bytes(model, x_BCSS, amp) - saved_bytes(model, x_BCSS[:half], amp)) / half


def saved_bytes(model: nn.Module, x_BCSS: Tensor, amp: bool) -> int:
    """Return the bytes that autograd saves for the backward pass, each storage once, without the parameters."""
    saved = SavedTensors(model)
    with (
        torch.autograd.graph.saved_tensors_hooks(saved.add, lambda _: None),
        torch.autocast("cpu", dtype=torch.bfloat16) if amp else nullcontext(),
    ):
        model(x_BCSS)
    return saved.bytes


class SavedTensors:
    """Count saved tensors without holding them, as there is no backward pass: even very deep models fit in memory."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes = 0
        self.own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
        self.alive: dict[int, StorageWeakRef] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        before = self.alive.get(address)
        if address not in self.own and (before is None or before.expired()):
            self.alive[address] = StorageWeakRef(storage)
            self.bytes += storage.nbytes()
