"""Which seeds each arm of a plan has, and which trials a command line or a look selects of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from studies.engine.core.trial import Trial
from studies.engine.planning.choice import chosen
from studies.engine.study.arms import ResolvedArm
from studies.engine.study.design import Coords
from studies.engine.study.starts import Key


@dataclass(frozen=True)
class ChosenTrials:
    every: tuple[int, ...]
    """Seeds that every arm has."""
    seeds: tuple[int, ...]
    """Seeds that are selected; further ones than `every` only selected arms have."""
    only: Mapping[str, tuple[str, ...]]
    arms: Collection[Key] | None
    """Those that are selected, of those that `only` leaves; None: all."""
    before: Mapping[Key, Collection[int]]
    """Further seeds of earlier runs."""

    def seeds_of(self, arm: ResolvedArm) -> tuple[int, ...]:
        """Return the seeds of the trials that may be planned."""
        more = self.seeds if self._has(*arm.key, arm.point.coords) else ()
        return (*self.every, *sorted({*more, *self.before.get(arm.key, ())} - {*self.every}))

    def selected(self, trials: Collection[Trial]) -> tuple[Trial, ...]:
        return tuple(t for t in trials if t.seed in self.seeds and self._has(t.arm.part, t.arm.label, t.arm.coords))

    def planned(self, trials: Collection[Trial], existing: Collection[str]) -> tuple[Trial, ...]:
        """Return the trials without those of earlier runs' further seeds of which nothing is on disk: the arm is
        another one today. existing: folder ids."""
        kept = {t.folder_id for t in self.selected(trials)}.union(existing)
        return tuple(t for t in trials if t.seed in self.every or t.folder_id in kept)

    def _has(self, part: str, label: str, coords: Coords) -> bool:
        return (self.arms is None or (part, label) in self.arms) and (not self.only or chosen(part, coords, self.only))
