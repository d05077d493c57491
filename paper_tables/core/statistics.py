"""Statistics over seeds: Student t intervals, paired differences, Holm. No interval below n = 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit

MIN_SEEDS = 3
"""Seeds below which neither spread nor interval nor test is given."""

RELATIVE_TOLERANCE = 1e-5
"""Spread over mean below which differences count as equal: numbers are stored to so many digits only."""


@dataclass(frozen=True)
class Summary:
    """Mean over seeds; `sd` the sample standard deviation, `half` half the t interval (None below n = 3)."""

    n: int
    mean: float
    sd: float | None
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of the differences of equal seeds. `p` from the paired t test, two-sided.

    `half` and `p` are None below three pairs, and where all differences are equal but for rounding: three equal
    numbers (accuracies are counts over few images) have no measured spread, which a t test would call certainty.
    """

    n: int
    mean: float
    sd: float | None
    half_width: float | None
    p: float | None


def t_quantile(n: int, level: float) -> float:
    """The Student t factor of a two-sided interval over n values."""
    return float(stdtrit(n - 1, 0.5 + level / 2))


def summarize(values: Sequence[float], level: float = 0.95) -> Summary:
    """Values must be finite and at least one."""
    n = len(values)
    mean = float(np.mean(values))
    if n < MIN_SEEDS:
        return Summary(n, mean, None, None)
    sd = float(np.std(values, ddof=1))
    return Summary(n, mean, sd, t_quantile(n, level) * sd / math.sqrt(n))


def paired(arm: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95) -> Difference | None:
    """arm - baseline over the seeds both have; None where they share none."""
    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return None
    return difference([arm[s] - baseline[s] for s in seeds], level)


def difference(values: Sequence[float], level: float = 0.95) -> Difference:
    """The same for differences already taken."""
    summary = summarize(values, level)
    if summary.sd is None or summary.sd <= RELATIVE_TOLERANCE * abs(summary.mean):
        return Difference(summary.n, summary.mean, summary.sd, None, None)
    t = summary.mean / (summary.sd / math.sqrt(summary.n))
    p = 2 * float(stdtr(summary.n - 1, -abs(t)))
    return Difference(summary.n, summary.mean, summary.sd, summary.half_width, p)


def welch(arm: Sequence[float], other: Sequence[float], level: float = 0.95) -> Difference:
    """arm - other where no seed is common to both: unequal variances, n the smaller of the two."""
    mean, n = float(np.mean(arm)) - float(np.mean(other)), min(len(arm), len(other))
    if n < MIN_SEEDS:
        return Difference(n, mean, None, None, None)
    shares = [float(np.var(side, ddof=1)) / len(side) for side in (arm, other)]
    error = math.sqrt(sum(shares))
    if error <= RELATIVE_TOLERANCE * abs(mean):
        return Difference(n, mean, 0.0, None, None)
    freedom = sum(shares) ** 2 / sum(s**2 / (len(side) - 1) for s, side in zip(shares, (arm, other), strict=True))
    half_width = float(stdtrit(freedom, 0.5 + level / 2)) * error
    return Difference(n, mean, error * math.sqrt(n), half_width, 2 * float(stdtr(freedom, -abs(mean / error))))


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p of so many discordant pairs; 1 where there are none."""
    both = gained + lost
    return min(1.0, 2 * float(bdtr(min(gained, lost), both, 0.5))) if both else 1.0


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values; None (not tested) stays None and does not count."""
    order = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * value))
        adjusted[i] = highest
    return adjusted


def detectable_effect(n: int, tests: int, alpha: float = 0.05) -> float:
    """How many standard deviations of the paired differences the largest of `tests` differences must reach."""
    return float(stdtrit(n - 1, 1 - alpha / (2 * tests))) / math.sqrt(n)


def min_discordant_pairs(tests: int, alpha: float = 0.05) -> int:
    """The fewest discordant images with which McNemar's exact test can mark the most different of `tests` pairs."""
    return math.floor(1 - math.log2(alpha / tests)) + 1
