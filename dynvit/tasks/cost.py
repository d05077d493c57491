"""Task `cost`: parameters, multiply-accumulates, operators, memory and speed of one model, nothing trained.

This file is read without torch to learn the options; everything heavy is imported inside `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dynvit.context import Context

REVISION = 1
"""Raised when the same config would give other numbers; part of every trial's identity."""

SMOKE: dict[str, Any] = {"timing.rounds": 1, "timing.warmup": 1, "timing.batch_sizes": [1], "timing.largest": 0}
"""What `--smoke` sets."""

GIVEN = ("img_size", "in_chans", "num_classes", "drop_path_rate")


@dataclass(frozen=True)
class Timing:
    """Speed, in turn with the trunk. Every batch size and mode gives metrics of its own, such as `speedup_b16`."""

    enabled: bool = False
    batch_sizes: Sequence[int] = (1, 32)
    largest: int = 0
    """On a GPU also at the largest power of two that fits, at most this one; 0: not."""
    modes: Sequence[Literal["eager", "compiled"]] = ("eager",)
    rounds: int = 12
    warmup: int = 2
    fuse: bool = False
    """Fold batch norms and scalars first, where a model can."""


@dataclass(frozen=True)
class Config:
    """One model. model: a timm model name and that model's options."""

    model: dict[str, Any] = field(
        default_factory=lambda: {"name": "vit_tiny_patch16_224"}, metadata={"kind": "model", "given": GIVEN}
    )
    trunk: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata={"kind": "model", "given": GIVEN})
    """What its speed is compared with; without a name the method's trunk, for a model without one nothing."""
    image_size: int | None = None
    """None: the model's own."""
    in_chans: int = 3
    num_classes: int = 1000
    counted_images: int = 4
    """Random images over which a dynamic model's multiply-accumulates are averaged."""
    operators: bool = False
    memory_batch: int = 0
    """Batch of the forward pass whose peak memory is taken; 0: it is not."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: int = 1
    """On the CPU; 0: as torch finds it."""
    timing: Timing = field(default_factory=Timing)


def run(config: Config, context: Context) -> dict[str, Any]:
    """Metrics: params_m, gflops (of multiply-accumulates), and what was asked for; `about` says where and with what."""
    from dynvit.profiling.benchmark import Measuring

    return Measuring(config, context).run()
