"""Fluctuation of validation accuracy late in training, which TPC-ViT's stabilizer is claimed to reduce."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def fluctuation(accuracy: Sequence[float], epochs: int) -> float | None:
    """Return the standard deviation (n - 1) of validation accuracy over the last third of `epochs`, rounded up.

    accuracy: one value per finished epoch. Returns None if the last third is not covered or has fewer than two epochs.
    Progress within that third counts as fluctuation: compare equal schedules only.
    """
    last = math.ceil(epochs / 3)
    if last < 2 or len(accuracy) < last:
        return None
    return statistics.stdev(accuracy[-last:])
