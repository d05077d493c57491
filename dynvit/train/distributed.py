"""Several processes that train one model together, each with its share of every batch (DistributedDataParallel).

`train.batch_size` is the whole batch, whatever the number of processes: the sums of their gradients, and so the curves,
are those of one process up to rounding. What a loss computes over a batch rather than per image (a ratio squared, a
balance over images) is computed over each share, as in every code trained that way. Batch normalisation sees the whole
batch on GPUs (SyncBatchNorm); on the CPU, where torch cannot, each share has its own statistics and the log says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dynvit.context import Context

PATIENCE = timedelta(hours=1)
"""A rank may wait so long for the others, which perhaps read data or evaluate; a dead one is noticed by the engine."""


class Together:
    """This process among the others. Alone, everything here is what one would have done without."""

    def __init__(self, context: Context) -> None:
        self.context, self.device = context, torch.device(context.device)
        self.rank, self.world = int(getattr(context, "rank", 0)), int(getattr(context, "world", 1))

    @property
    def part(self) -> tuple[int, int]:
        return self.rank, self.world

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Find the others, and let go of them at a regular end: after an exception they may not be there any more."""
        if self.world == 1:
            yield
            return
        import torch.distributed as dist

        first = self.rank == 0
        address = str(getattr(self.context, "address", "") or "localhost")
        store = dist.TCPStore(address, 0, self.world, True, PATIENCE, wait_for_workers=False) if first else None
        port = int(self.context.share(store.port if store is not None else None))
        if store is None:
            store = dist.TCPStore(address, port, self.world, False, PATIENCE)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=PATIENCE)
        self._words = dist.new_group(backend="gloo", timeout=PATIENCE)  # for what is not on the device
        self.context.say(f"rank {self.rank} of {self.world} on {self.device}, by {backend}")
        yield
        dist.destroy_process_group()

    def prepared(self, model: nn.Module) -> nn.Module:
        """Before the optimiser is made: batch normalisation over the whole batch."""
        if self.world == 1 or not any(isinstance(module, _BatchNorm) for module in model.modules()):
            return model
        if self.device.type != "cuda":
            self.context.say("batch normalisation sees each process's share of a batch only, as this is the CPU")
            return model
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(model)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """What is called in training: gradients come out averaged. A layer that a step does not use is no error."""
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)

    def gathered(self, value: Any) -> list[Any]:
        """Everybody's value, in order of rank; tensors in it should be on the CPU."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._words)
        return values
