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

SPEEDS = ("images_per_second", "trunk_images_per_second", "speedup", "speedup_low", "speedup_high", "share")
MODES = ("", "_compiled", "_exported", "_onnx")
METRICS: dict[str, tuple[str, ...]] = {
    "result": (
        "params_m", "params_training_m", "gflops", "gflops_attention", "gflops_norms", "image_size", "mac_ratio",
        "trunk_gflops", "forward_mb", "operators", "graph_breaks", "batch_max",
        "update_speedup", "update_speedup_low", "update_speedup_high",
        *(f"{speed}_{batch}{mode}" for speed in SPEEDS for batch in ("b[1-9]*", "max") for mode in MODES),
    )
}  # fmt: skip
"""What a trial has, by place: names with ``*`` as in file names. A study's `metrics` are checked against it."""
HEADLINE: dict[str, dict[str, str]] = {"params_m": {"direction": "min"}, "gflops": {"direction": "min"}}
"""The metrics of a study that names none."""


def run(config: Config, context: Context) -> dict[str, Any]:
    """Return params_m, gflops (of multiply-accumulates) and what was asked for; `about` names hardware and software."""
    return Benchmark(config, context).run()


__all__ = ["HEADLINE", "METRICS", "REVISION", "SMOKE", "Config", "Timing", "run"]
