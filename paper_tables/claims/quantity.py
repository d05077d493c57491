"""The number that a condition is about, with its interval: on the scale on which it is judged, and as it is printed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from paper_tables.claims.decisions import Ruling
from paper_tables.core.sequential import confidence_sequence
from paper_tables.core.statistics import MIN_SEEDS, Difference, difference, welch
from paper_tables.schema.claims import Condition

Values = Mapping[int, float]


def quantity(condition: Condition, of: Values, against: Values | None, ruling: Ruling) -> Difference | None:
    """Return the compared quantity with its interval over seeds, in logarithms for ratios; None if undefined.

    Arms are compared pair by pair, or by Welch's t test where fewer than three seeds are common (`unpaired`).
    """
    level = 1 - ruling.error
    if against is None:
        return _at_any_time(difference(list(of.values()), level), ruling, list(of.values()))
    if in_logarithms(condition):
        if min(*of.values(), *against.values(), math.inf) <= 0:
            return None
        of, against = ({seed: math.log(v) for seed, v in side.items()} for side in (of, against))
    if unpaired(of, against):
        ours, theirs = list(of.values()), list(against.values())
        return _at_any_time(welch(ours, theirs, level), ruling, ours, theirs)
    pairs = [of[seed] - against[seed] for seed in sorted(of.keys() & against.keys())]
    return _at_any_time(difference(pairs, level), ruling, pairs)


def unpaired(of: Values, against: Values) -> bool:
    common = len(of.keys() & against.keys())
    return not common or common < MIN_SEEDS <= min(len(of), len(against))


def _at_any_time(result: Difference, ruling: Ruling, *samples: Sequence[float]) -> Difference:
    """Between looks: the interval that holds at every n, of two samples at half the error each."""
    if not ruling.sequence or result.half_width is None:
        return result
    widths = [confidence_sequence(values, ruling.error / len(samples)) for values in samples]
    return replace(result, half_width=sum(widths) if math.isfinite(sum(widths)) else None)


def in_logarithms(condition: Condition) -> bool:
    return bool(condition.against) and condition.compare in ("ratio", "saving")


def printed(condition: Condition, value: float) -> float:
    """Return the printed value of one on the scale on which the condition is judged."""
    if not in_logarithms(condition):
        return value
    return math.exp(value) if condition.compare == "ratio" else 100 * (1 - math.exp(value))


def judged(condition: Condition, value: float) -> float:
    """Return the value on the scale on which the condition is judged, of a printed one: the inverse of `printed`."""
    if not in_logarithms(condition):
        return value
    ratio = value if condition.compare == "ratio" else 1 - value / 100
    return math.log(ratio) if ratio > 0 else -math.inf


def judged_region(condition: Condition) -> tuple[float, float]:
    low, high = sorted(judged(condition, bound) for bound in condition.region())
    return low, high


def distance(condition: Condition, mean: float) -> float:
    """Return how far a mean is from the nearest bound, on the scale on which the condition is judged."""
    return min(abs(mean - bound) for bound in judged_region(condition))
