"""Keeping: base of the methods that keep a share of the patches at a few places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynvit.reduction.counts import Plan, check_keep, check_locations, keep_counts
from dynvit.reduction.reducer import Reducer


@dataclass(frozen=True)
class Keeping(Reducer):
    """A method with the options `keep` and `locations`."""

    keep: float | Sequence[float] = 0.7
    """Share of the patches left after the first place, its square after the second, and so on, of the original count;
    or a list with a share or a count for each place."""
    locations: Sequence[int] | None = None
    """Blocks that reduce, counted from 0; not given: after each quarter of the blocks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_keep(self.keep)

    def plan(self, patches: int, prefix: int, depth: int) -> Plan:
        return keep_counts(self.keep, self.places(depth), patches, depth)

    def places(self, depth: int) -> tuple[int, ...]:
        """The blocks that reduce."""
        return check_locations(self.locations, depth, self.first_location())

    def first_location(self) -> int:
        """The first block that can reduce."""
        return 0
