"""Deciding with few seeds: the level for repeated looks, confidence sequences, power, and when more seeds are futile.

A look is a number of seeds at which all values so far are judged. An interval of 95 % at each of several looks is
wrong far more often than 5 %; `nominal_error` is the level at which it is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

DRAWS = 1_000_000
"""Simulated experiments behind a nominal level, whose standard error is 0.3 % of it."""
POWER_DRAWS = 20_000
PREDICTED = 4_000
"""Continuations of a condition's values that are simulated to see whether more seeds are worth it."""
SEED = 2310
MOST_SEEDS = 100_000
"""More decide nothing in practice."""

Floats = NDArray[np.float64]


@cache
def nominal_error(looks: tuple[int, ...], error: float = 0.05) -> float:
    """Return the two-sided level of each look with which all looks together are wrong with probability `error`.

    Pocock's constant boundary for Student's t of the values so far, by simulation with a fixed seed, to three digits.
    `looks`: increasing numbers of values, the first at least 2. Simulated is only how often several looks are wrong
    at once: that each of them is wrong with its level is known.
    """
    smallest = np.ones(DRAWS)
    again: list[Floats] = []
    for n, mean, sd in _walk(looks, np.random.default_rng(SEED), DRAWS):
        t = np.abs(mean) / sd * math.sqrt(n)
        far = np.flatnonzero(t > stdtrit(n - 1, 1 - error / 2))
        p = 2 * stdtr(n - 1, -t[far])
        again.append(np.maximum(p, smallest[far]))
        smallest[far] = np.minimum(p, smallest[far])
    repeated = np.sort(np.concatenate(again))
    low, high = error / len(looks), error
    while high - low > 1e-4 * low:
        level = (low + high) / 2
        wrong = len(looks) * level - np.searchsorted(repeated, level) / DRAWS
        low, high = (low, level) if wrong > error else (level, high)
    return float(f"{high:.3g}")


def half_width(n: int, sd: float, level: float) -> float:
    """Return half of Student's t interval of error `level` about the mean of n values."""
    return float(stdtrit(n - 1, 1 - level / 2)) * sd / math.sqrt(n)


def confidence_sequence(values: Sequence[float], error: float, c2: float = 0.1) -> float:
    """Return the half width about the mean of an interval that holds at every number of values at once.

    The t mixture of Wang and Ramdas (arXiv 2310.03722) with prior precision `c2`; infinite for very few values.
    """
    n = len(values)
    omega = (error**2 * c2 / (n + c2)) ** (1 / n)
    room = (n + c2) * omega - c2
    return float(np.std(values)) * math.sqrt((n + c2) * (1 - omega) / room) if room > 0 else math.inf


@cache
def detectable(looks: tuple[int, ...], level: float, wanted: float = 0.8) -> tuple[float, ...]:
    """Return for each look the distance from a bound, in SDs, that is decided by then with probability `wanted`."""
    needed = np.full(POWER_DRAWS, np.inf)
    found = []
    for n, mean, sd in _walk(looks, np.random.default_rng(SEED), POWER_DRAWS):
        needed = np.minimum(needed, half_width(n, 1.0, level) * sd - mean)
        found.append(float(np.quantile(needed, wanted)))
    return tuple(found)


def needed_n(distance: float, sd: float, level: float) -> int:
    """Return the least number of values whose interval about a mean `distance` from a bound does not reach it.

    `MOST_SEEDS` + 1 where it is larger.
    """
    low, high = 2, MOST_SEEDS + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half_width(middle, sd, level) <= distance else (middle, high)
    return high


def chance_of_decision(
    n: int, mean: float, sd: float, later: Sequence[int], levels: tuple[float, float], region: tuple[float, float]
) -> float:
    """Return the probability, given n values of this mean and SD, that a later look is decided about `region`.

    levels: of the interval that must lie inside, and of the one that must lie outside.
    The predictive distribution without prior knowledge of mean and spread: the little that three values say of the
    spread is taken into account, which a plug-in of the SD would not.
    """
    rng = np.random.default_rng(SEED)
    sigma = sd * np.sqrt((n - 1) / rng.chisquare(n - 1, PREDICTED))
    centre = mean + sigma * rng.standard_normal(PREDICTED) / math.sqrt(n)
    start = (n, np.full(PREDICTED, mean), np.full(PREDICTED, (n - 1) * sd**2))
    decided = np.zeros(PREDICTED, bool)
    for count, means, sds in _walk(later, rng, PREDICTED, start, centre, sigma):
        width, other = (half_width(count, 1.0, level) * sds for level in levels)
        decided |= (means - width >= region[0]) & (means + width <= region[1])
        decided |= (means + other < region[0]) | (means - other > region[1])
    return float(decided.mean())


def _walk(
    looks: Sequence[int],
    rng: np.random.Generator,
    draws: int,
    start: tuple[int, Floats, Floats] | None = None,
    centre: Floats | float = 0.0,
    sigma: Floats | float = 1.0,
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield (n, means, SDs) of `draws` samples that grow from look to look.

    What the values of a step add is drawn as their mean and sum of squares, not value by value. `start`: number,
    means and sums of squares about the mean of the values before.
    """
    n, mean, squares = start or (0, np.zeros(draws), np.zeros(draws))
    for look in looks:
        step = look - n
        away = centre + sigma * rng.standard_normal(draws) / math.sqrt(step) - mean
        within = sigma**2 * rng.chisquare(step - 1, draws) if step > 1 else 0.0
        mean = mean + away * step / look
        squares = squares + within + away**2 * n * step / look
        n = look
        yield n, mean, np.sqrt(squares / (n - 1))
