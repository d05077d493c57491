"""Options of validation and of the final measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MOST_COMPARED = 10_000
"""Images of each split that the generalization gap is measured on."""


def warm_up(batches: int) -> int:
    """Batches that run untimed before so many are timed."""
    return max(2, batches // 4)


@dataclass(frozen=True)
class Evaluation:
    """How the model is measured."""

    weights: Literal["trained", "ema"] = "trained"
    """ema: the moving average is validated, measured and kept in best.safetensors and last.safetensors."""
    batch_size: int = 256
    """Images per batch."""
    traced_images: int = 256
    """Validation images whose active tokens are traced after each epoch; 0 for none."""
    counted_images: int = 16
    """Validation images over which a dynamic model's multiply-accumulates are averaged."""
    timed_batch_size: int = 64
    """Images per batch of the speed measurement."""
    timed_batches: int = 20
    """Batches of the speed measurement."""
