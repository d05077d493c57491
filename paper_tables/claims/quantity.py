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
    if against is None:
        return over_seeds(list(of.values()), ruling)
    sides = _on_scale(condition, of, against)
    if sides is None:
        return None
    of, against = sides
    if unpaired(of, against):
        ours, theirs = list(of.values()), list(against.values())
        return _at_any_time(welch(ours, theirs, 1 - ruling.error), ruling, ours, theirs)
    return over_seeds([of[seed] - against[seed] for seed in sorted(of.keys() & against.keys())], ruling)


def by_seed(condition: Condition, of: Values, against: Values | None) -> Values:
    """Return the quantity of each seed, in logarithms for ratios; empty where it is undefined or unpaired."""
    sides = (of, dict.fromkeys(of, 0.0)) if against is None else _on_scale(condition, of, against)
    if sides is None or unpaired(*sides):
        return {}
    return {seed: sides[0][seed] - sides[1][seed] for seed in sides[0].keys() & sides[1].keys()}


def over_seeds(values: Sequence[float], ruling: Ruling) -> Difference:
    """Return the mean of values by seed with its interval."""
    return _at_any_time(difference(values, 1 - ruling.error), ruling, values)


def _on_scale(condition: Condition, *sides: Values) -> list[Values] | None:
    """Return values on the scale on which they are compared; None where it has none for them."""
    if not in_logarithms(condition):
        return [*sides]
    if min(math.inf, *(value for side in sides for value in side.values())) <= 0:
        return None
    return [{seed: math.log(value) for seed, value in side.items()} for side in sides]


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
