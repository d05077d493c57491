"""Task `cost`: parameters, multiply-accumulates, operators, memory and speed of one model, without training."""

from __future__ import annotations

from typing import Any

from dynvit.config.cost import Config, Timing
from dynvit.context import Context
from dynvit.profiling.benchmark import Benchmark

REVISION = 1
"""Increased when the same config would give other numbers; part of every trial's identity."""

SMOKE: dict[str, Any] = {"timing.rounds": 1, "timing.warmup": 1, "timing.batch_sizes": [1], "timing.largest": 0}
"""What `--smoke` sets."""


def run(config: Config, context: Context) -> dict[str, Any]:
    """Return params_m, gflops (of multiply-accumulates) and what was asked for; `about` names hardware and software."""
    return Benchmark(config, context).run()


__all__ = ["REVISION", "SMOKE", "Config", "Timing", "run"]
