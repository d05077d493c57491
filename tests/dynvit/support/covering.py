"""Covering sets of option combinations: few dictionaries in which every pair of levels occurs together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heapreplace
from itertools import combinations, product
from typing import Any

Combination = dict[str, Any]


def pairwise(
    levels: Mapping[str, Sequence[Any]], allowed: Callable[[Combination], bool] = lambda _: True
) -> list[Combination]:
    """Greedy cover of all pairs of levels that occur in some allowed combination, the best of all at each step.

    A combination never covers more than it did before, so only those are counted anew that would still be the best.
    """
    rows = [row for row in product(*(range(len(v)) for v in levels.values())) if allowed(_named(levels, row))]
    columns = list(combinations(range(len(levels)), 2))
    pairs = {row: {(i, row[i], j, row[j]) for i, j in columns} for row in rows}
    missing = set().union(*pairs.values())
    best = [(-len(pairs[row]), place) for place, row in enumerate(rows)]
    heapify(best)
    chosen = []
    while missing:
        row = rows[best[0][1]]
        now = (-len(pairs[row] & missing), best[0][1])
        if now != best[0]:
            heapreplace(best, now)
            continue
        missing -= pairs[row]
        chosen.append(_named(levels, row))
    return chosen


def _named(levels: Mapping[str, Sequence[Any]], row: tuple[int, ...]) -> Combination:
    return {name: values[i] for (name, values), i in zip(levels.items(), row, strict=True)}
