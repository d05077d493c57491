"""Data-parallel training: several processes, each with a slice of every batch (DistributedDataParallel).

`train.batch_size` is the global batch, whatever the number of processes: gradients, and so the curves, are those of one
process up to rounding. What a loss computes over a batch rather than per image (a squared ratio, a balance over images)
is computed over each slice, as usual with DistributedDataParallel. On GPUs batch normalization uses the statistics of
the whole batch (SyncBatchNorm); on the CPU, which torch does not support, each slice has its own, rank 0's running
statistics are validated and kept, and the log says so.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dynvit.context import Context
from dynvit.output import Output

LOOPBACK = "127.0.0.1"
"""Rank 0's address where all processes are on one node: nothing outside can connect."""
TIMEOUT = timedelta(hours=1)
"""Long enough for the others to read data or to evaluate; the engine notices a dead rank."""


class ProcessGroup:
    """This process among those of its trial; with a single process every method is the identity."""

    def __init__(self, context: Context) -> None:
        self.context, self.device = context, torch.device(context.device)
        self.rank, self.world = int(getattr(context, "rank", 0)), int(getattr(context, "world", 1))

    @property
    def shard(self) -> tuple[int, int]:
        return self.rank, self.world

    @contextmanager
    def init(self) -> Iterator[None]:
        """Join the process group; leave it at a regular end only, since after an exception the others may be gone."""
        if self.world == 1:
            yield
            return
        import torch.distributed as dist

        first = self.rank == 0
        address = str(getattr(self.context, "address", "") or LOOPBACK)
        one_node = address == LOOPBACK
        if one_node and sys.platform == "linux":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        listener = socket.create_server((LOOPBACK if one_node else "", 0)) if first else None
        port = int(self.context.broadcast(listener.getsockname()[1] if listener is not None else None))
        given = {} if listener is None else {"master_listen_fd": listener.detach(), "wait_for_workers": False}
        store = dist.TCPStore(address, port, self.world, first, TIMEOUT, **given)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world, timeout=TIMEOUT)
        self._cpu_group = dist.new_group(backend="gloo", timeout=TIMEOUT)  # for objects
        self.context.log_text(f"rank {self.rank} of {self.world} on {self.device}, by {backend}")
        yield
        dist.destroy_process_group()

    def sync_batchnorm(self, model: nn.Module) -> nn.Module:
        """Convert batch normalization to SyncBatchNorm; call it before building the optimizer."""
        if self.world == 1 or not any(isinstance(module, _BatchNorm) for module in model.modules()):
            return model
        if self.device.type != "cuda":
            self.context.log_text(
                "batch normalization uses each process's slice of a batch only, and evaluation the first process's "
                "statistics: torch has no SyncBatchNorm on the CPU"
            )
            return model
        from timm.layers import convert_sync_batchnorm

        return convert_sync_batchnorm(model)

    def ddp(self, model: nn.Module) -> nn.Module:
        """Wrap the model so that gradients are averaged. Layers that a step does not use are allowed."""
        if self.world == 1:
            return model
        _make_output_transparent()
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)

    def sync_buffers(self, model: nn.Module) -> None:
        """Give every process rank 0's buffers (running statistics), as DistributedDataParallel does in training."""
        if self.world == 1:
            return
        import torch.distributed as dist

        for buffer in model.buffers():
            if buffer.is_floating_point():
                dist.broadcast(buffer, 0)

    def gather(self, value: Any) -> list[Any] | None:
        """Return the values of all ranks, in order, to rank 0; None to the others."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] | None = None if self.rank else [None] * self.world
        dist.gather_object(value, values, group=self._cpu_group)
        return values

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order; tensors in them should be on the CPU."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._cpu_group)
        return values


@cache
def _make_output_transparent() -> None:
    """Show DistributedDataParallel the tensors of an `Output`: else it waits for those that the loss leaves out."""
    torch.export.register_dataclass(Output)
