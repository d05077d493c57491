"""Covering sets of option combinations: few dictionaries in which every pair of levels occurs together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Combination = dict[str, Any]


def pairwise(
    levels: Mapping[str, Sequence[Any]], allowed: Callable[[Combination], bool] = lambda _: True
) -> list[Combination]:
    """Greedy cover of all pairs of levels that occur in some allowed combination, the best of all at each step."""
    rows = [row for row in product(*(range(len(v)) for v in levels.values())) if allowed(_named(levels, row))]
    columns = list(combinations(range(len(levels)), 2))
    pairs = {row: {(i, row[i], j, row[j]) for i, j in columns} for row in rows}
    missing = set().union(*pairs.values())
    chosen = []
    while missing:
        best = max(rows, key=lambda row: len(pairs[row] & missing))
        missing -= pairs[best]
        chosen.append(_named(levels, best))
    return chosen


def _named(levels: Mapping[str, Sequence[Any]], row: tuple[int, ...]) -> Combination:
    return {name: values[i] for (name, values), i in zip(levels.items(), row, strict=True)}
