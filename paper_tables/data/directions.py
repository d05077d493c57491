"""The direction in which a usual metric is better, for where a study does not say."""

from __future__ import annotations

COUNTED_METRICS = ("params", "params_m", "gflops", "macs", "macs_g")
"""Deterministic: the same for every seed of a static model."""
LOWER_IS_BETTER = (*COUNTED_METRICS, "loss", "seconds", "peak_memory_mb", "latency_ms")
HIGHER_IS_BETTER = ("top1", "top5", "images_per_second", "throughput_img_s", "speedup")


def usual_direction(metric: str) -> str:
    """Return "max", "min" or "none". metric: as it is logged, ``val.top1``, ``loss.budget``."""
    words = metric.split(".")
    for direction, names in (("max", HIGHER_IS_BETTER), ("min", LOWER_IS_BETTER)):
        if any(word in names for word in words):
            return direction
    return "none"
