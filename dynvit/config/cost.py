"""Config of the task `cost`: what is measured of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dynvit.config.model import MODEL_FIELD


@dataclass(frozen=True)
class Timing:
    """Speed, timed alternately with the backbone. Each batch size and mode has metrics like `speedup_b16`."""

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

    model: dict[str, Any] = field(default_factory=lambda: {"name": "vit_tiny_patch16_224"}, metadata=MODEL_FIELD)
    trunk: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata=MODEL_FIELD)
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
