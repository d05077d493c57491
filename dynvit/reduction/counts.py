"""How many patch tokens are left, and where: shares of the original count, lists of counts, places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Plan = tuple[int | None, ...]
"""Per block: patch tokens that are left after its reduction; None: the block reduces nothing."""


def default_locations(depth: int) -> tuple[int, ...]:
    """After each quarter of the blocks: 3, 6, 9 of 12."""
    return tuple(sorted({depth * quarter // 4 for quarter in (1, 2, 3)}))


def check_locations(
    locations: Sequence[int] | None, depth: int, first: int = 0, name: str = "locations"
) -> tuple[int, ...]:
    """The places; ValueError unless they are rising block numbers of the model. first: the earliest that is possible.
    None: `default_locations`. name: of the option, for messages."""
    if locations is None:
        return tuple(place for place in default_locations(depth) if place >= first)
    places = tuple(locations)
    if list(places) != sorted(set(places)):
        raise ValueError(f"{name} must be increasing block numbers, got {list(places)}")
    wrong = [place for place in places if not first <= place < depth]
    if wrong:
        raise ValueError(f"{name} must be blocks of this model, {first} to {depth - 1}, got {wrong[0]}")
    return places


def check_keep(keep: float | Sequence[float]) -> None:
    """ValueError unless `keep` is a share in (0, 1], or a list of shares or of counts that do not rise."""
    values = keep if isinstance(keep, Sequence) else (keep,)
    for value in values:
        count = isinstance(keep, Sequence) and isinstance(value, int) and not isinstance(value, bool) and value >= 1
        if not count and not 0 < value <= 1:
            raise ValueError(f"keep must be a share in (0, 1] or a list of counts, got {value}")
    for before, value in pairwise(values):
        if isinstance(before, int) and isinstance(value, int) and value > before:
            raise ValueError(f"keep must not rise, got {value} tokens after {before}: what left does not come back")


def keep_counts(keep: float | Sequence[float], locations: Sequence[int], patches: int, depth: int) -> Plan:
    """What `keep` leaves of `patches` at each place (TokenReduction, arXiv 2308.04657).

    keep: the share rho; at the i-th place int(patches rho^(i+1)) are left, of the original count. A list has one
    entry per place: a share below 1 of the original count, or a whole number, the count itself (1 is one token; 1.0
    all of them). ValueError for a place that would leave more than the one before.
    """
    plan: list[int | None] = [None] * depth
    values = per_location(keep, len(locations))
    counts = [value if isinstance(value, int) else max(int(patches * value), 1) for value in values]
    for (before, left), (value, count) in pairwise(zip(values, counts, strict=True)):
        if count > left:
            raise ValueError(
                f"keep must not rise, got {value:g} after {before:g}, which are {count} and {left} of {patches} "
                "patches: shares are of the original count, and what left does not come back"
            )
    for place, count in zip(locations, counts, strict=True):
        plan[place] = count
    return tuple(plan)


def per_location(keep: float | Sequence[float], locations: int, powers: bool = True) -> list[float]:
    """A value for each place: as listed, or of one share its powers, or itself. Whole numbers of a list are counts.
    ValueError for a list of another length."""
    values = list(keep) if isinstance(keep, Sequence) else [float(keep)]
    if len(values) == 1 and not isinstance(values[0], int):
        values = [values[0] ** (i + 1 if powers else 1) for i in range(locations)]
    if len(values) != locations:
        raise ValueError(f"keep has {len(values)} entries, needed is one for each of {locations} locations")
    return values


def ratio_counts(ratio: float, patches: int, depth: int, prefix: int = 0) -> Plan:
    """Every block keeps this share of its tokens: floor(n - n ratio) go, n the patches and `prefix` more."""
    plan: list[int | None] = []
    left = patches
    for _ in range(depth):
        n = left + prefix
        left -= math.floor(n - n * ratio)
        plan.append(left)
    return tuple(plan)


def falling(plan: Plan, patches: int, added: int = 0) -> Plan:
    """The plan with None for counts that take nothing away; each reduction adds so many tokens to those it counts."""
    result: list[int | None] = []
    for kept in plan:
        result.append(kept if kept is not None and kept < patches else None)
        patches = patches if result[-1] is None else result[-1] + added
    return tuple(result)
