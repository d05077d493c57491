"""How torch computes during a trial, and the processes that take part in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from dynvit.config.train import Train
from dynvit.context import Context
from dynvit.profiling.peak_memory import reset_peak
from dynvit.rng import deterministic
from dynvit.train.distributed import ProcessGroup


@contextmanager
def training_session(options: Train, context: Context) -> Iterator[ProcessGroup]:
    """Set determinism, flush denormals on the CPU, reset peak memory and join the process group, inside the block."""
    with ExitStack() as stack:
        if options.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic with it only
            stack.enter_context(deterministic(True))
        if torch.device(context.device).type == "cpu" and torch.set_flush_denormal(True):
            stack.callback(torch.set_flush_denormal, False)
        reset_peak(context.device)
        group = ProcessGroup(context)
        stack.enter_context(group.init())
        yield group
