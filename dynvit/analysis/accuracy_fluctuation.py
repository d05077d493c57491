"""How much validation accuracy fluctuates late in training: what TPC-ViT's stabilizer is said to reduce."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def fluctuation(accuracy: Sequence[float], epochs: int) -> float | None:
    """Standard deviation (n - 1) of validation accuracy over the last third of `epochs`, rounded up.

    accuracy: one value per finished epoch, the last ones at the end; None where the last third is not covered or has
    fewer than two epochs. What is still being learnt in that third counts as fluctuation: compare equal schedules.
    """
    last = math.ceil(epochs / 3)
    if last < 2 or len(accuracy) < last:
        return None
    return statistics.stdev(accuracy[-last:])
