"""Statistics over seeds: Student t intervals, paired differences, Holm. No interval below n = 3."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtr, stdtrit

MIN_SEEDS = 3
"""Fewest seeds for which spread, interval or test are computed."""

RELATIVE_TOLERANCE = 1e-5
"""Ratio of spread to mean below which differences count as equal: numbers are stored with about five digits."""


@dataclass(frozen=True)
class Summary:
    """Mean over seeds; `sd`: sample standard deviation, `half_width`: half the t interval (None below n = 3)."""

    n: int
    mean: float
    sd: float | None
    half_width: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of the differences of equal seeds. `p` from the paired t test, two-sided.

    `half_width` and `p` are None below three pairs, and if all differences are equal up to rounding: accuracies are
    counts over few images, and a t test would take a spread of zero for certainty.
    """

    n: int
    mean: float
    sd: float | None
    half_width: float | None
    p: float | None


def t_quantile(n: int, level: float) -> float:
    """Return the Student t factor of a two-sided interval over n values."""
    return float(stdtrit(n - 1, 0.5 + level / 2))


def summarize(values: Sequence[float], level: float = 0.95) -> Summary:
    """Return mean and spread of at least one finite value."""
    n = len(values)
    mean = float(np.mean(values))
    if n < MIN_SEEDS:
        return Summary(n, mean, None, None)
    sd = float(np.std(values, ddof=1))
    return Summary(n, mean, sd, t_quantile(n, level) * sd / math.sqrt(n))


def paired(arm: Mapping[int, float], baseline: Mapping[int, float], level: float = 0.95) -> Difference | None:
    """Return arm - baseline over their common seeds; None without common seeds."""
    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return None
    return difference([arm[s] - baseline[s] for s in seeds], level)


def difference(values: Sequence[float], level: float = 0.95) -> Difference:
    """Return the summary and t test of paired differences."""
    summary = summarize(values, level)
    if summary.sd is None or summary.sd <= RELATIVE_TOLERANCE * abs(summary.mean):
        return Difference(summary.n, summary.mean, summary.sd, None, None)
    t = summary.mean / (summary.sd / math.sqrt(summary.n))
    p = 2 * float(stdtr(summary.n - 1, -abs(t)))
    return Difference(summary.n, summary.mean, summary.sd, summary.half_width, p)


def welch(arm: Sequence[float], other: Sequence[float], level: float = 0.95) -> Difference:
    """Return arm - other by Welch's t test (no common seeds, unequal variances); n is the smaller of the two."""
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


def crossed_interval(table: NDArray[np.float64], level: float = 0.95) -> tuple[float, float] | None:
    """Return mean and half width over both dimensions of `table` [seeds, images], which are random and crossed.

    Variance of the mean by the method of moments, degrees of freedom by Satterthwaite, at most those of the seeds: it
    is never narrower than the interval over seeds alone. None without any spread.
    """
    n, m = table.shape
    by_seed, by_image = table.mean(axis=1), table.mean(axis=0)
    mean = float(table.mean())
    rest = table - by_seed[:, None] - by_image[None, :] + mean
    seeds, images = float(np.var(by_seed, ddof=1)) / n, float(np.var(by_image, ddof=1)) / m
    both = float(np.sum(rest**2)) / ((n - 1) * (m - 1)) / (n * m)
    variance = max(seeds + images - both, seeds, images)
    if variance <= 0:
        return None
    freedom = min(n - 1, variance**2 / (seeds**2 / (n - 1) + images**2 / (m - 1)))
    return mean, float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(variance)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p of McNemar's test from the discordant pairs; 1 if there are none."""
    both = gained + lost
    return min(1.0, 2 * float(bdtr(min(gained, lost), both, 0.5))) if both else 1.0


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return Holm-adjusted p values; None (not tested) stays None and is not counted."""
    order = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * value))
        adjusted[i] = highest
    return adjusted


def detectable_effect(n: int, tests: int, alpha: float = 0.05) -> float:
    """Return the smallest detectable largest difference of `tests`, in SDs of the paired differences."""
    return float(stdtrit(n - 1, 1 - alpha / (2 * tests))) / math.sqrt(n)


def min_discordant_pairs(tests: int, alpha: float = 0.05) -> int:
    """Return the fewest discordant images with which McNemar's exact test can mark the best of `tests` pairs."""
    return math.floor(1 - math.log2(alpha / tests)) + 1
