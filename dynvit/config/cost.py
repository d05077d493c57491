"""Config of the task `cost`: what is measured of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from dynvit.config.model import ADDED_FIELD, MODEL_FIELD, REDUCER_FIELD


@dataclass(frozen=True)
class Timing:
    """Speed, timed alternately with the backbone. Each batch size and mode has metrics like `speedup_b16`."""

    enabled: bool = False
    """Measure speed at all."""
    batch_sizes: Sequence[int] = (1, 32)
    """Batch sizes to time."""
    largest: int = 0
    """On a GPU, also time the largest power of two that fits, up to this; 0: off."""
    modes: Sequence[Literal["eager", "compiled", "exported", "onnx"]] = ("eager",)
    """compiled: by inductor, with CUDA graphs on a GPU. exported: a package of AOTInductor. onnx: onnxruntime, CPU.
    A mode that a model cannot be run in is named with the reason in the result's `about`, under `not_timed`."""
    rounds: int = 12
    """Timed rounds; each runs the model and the backbone."""
    warmup: int = 2
    """Untimed rounds before."""
    update: int = field(default=0, metadata=ADDED_FIELD)
    """Batch size at which an update of training is timed too: forward and backward pass with the method's own losses,
    and AdamW's step, in turn with the backbone's; 0: not timed."""
    fuse: bool = False
    """Fold batch norms and scalars first, where the model supports it."""


@dataclass(frozen=True)
class Config:
    """One model. model: a timm model name and that model's options."""

    model: dict[str, Any] = field(default_factory=lambda: {"name": "vit_tiny_patch16_224"}, metadata=MODEL_FIELD)
    trunk: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata=MODEL_FIELD)
    """Model whose speed is the reference; no name: the model without its reducer, or the method's backbone."""
    reducer: dict[str, Any] = field(default_factory=lambda: {"name": ""}, metadata=REDUCER_FIELD)
    """A token reducer for the model: name and options of `dynvit.reduce`; no name: none."""
    image_size: int | None = None
    """None: the model's own."""
    in_chans: int = 3
    """Channels of the images."""
    num_classes: int = 1000
    """Classes of the classifier."""
    counted_images: int = 4
    """Random images over which a dynamic model's multiply-accumulates are averaged."""
    operators: bool = False
    """Count the operators of one forward pass too."""
    memory_batch: int = 0
    """Batch size of the forward pass whose peak memory is measured; 0: not measured."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of weights and images."""
    threads: int = 1
    """CPU threads; 0: torch's default."""
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        if self.timing.enabled and "onnx" in self.timing.modes and self.dtype != "float32":
            raise ValueError(f"timing.modes: onnx is timed in float32 only, not in {self.dtype}")
        timing = self.timing
        if timing.update and not self.num_classes:
            raise ValueError("timing.update needs num_classes: a model without classes has no loss to train with")
        for key, least, counts in (
            ("image_size", 1, [1 if self.image_size is None else self.image_size]),
            ("in_chans", 1, [self.in_chans]),
            ("num_classes", 0, [self.num_classes]),
            ("counted_images", 1, [self.counted_images]),
            ("memory_batch", 0, [self.memory_batch]),
            ("threads", 0, [self.threads]),
            ("timing.batch_sizes", 1, timing.batch_sizes),
            ("timing.rounds", 1, [timing.rounds]),
            *((f"timing.{name}", 0, [getattr(timing, name)]) for name in ("largest", "warmup", "update")),
        ):
            if wrong := [count for count in counts if count < least]:
                raise ValueError(f"{key} must be >= {least}, got {wrong[0]}")
