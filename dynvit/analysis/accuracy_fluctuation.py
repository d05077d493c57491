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
    late = _last_third(accuracy, epochs)
    return statistics.stdev(late) if len(late) > 1 else None


def detrended_fluctuation(accuracy: Sequence[float], epochs: int) -> float | None:
    """Return the standard deviation (n - 2) of the same values about their straight line: progress does not count.

    Returns None if the last third is not covered or has fewer than three epochs.
    """
    late = _last_third(accuracy, epochs)
    if len(late) < 3:
        return None
    slope, intercept = statistics.linear_regression(range(len(late)), late)
    residuals = [value - intercept - slope * i for i, value in enumerate(late)]
    return math.sqrt(sum(r * r for r in residuals) / (len(late) - 2))


def _last_third(accuracy: Sequence[float], epochs: int) -> Sequence[float]:
    last = math.ceil(epochs / 3)
    return accuracy[-last:] if 0 < last <= len(accuracy) else ()
