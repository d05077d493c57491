"""`decide:` of a study file: at which numbers of seeds the study's claims are judged, until each is decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from studies.engine.study.design import MOST_SEEDS
from studies.engine.study.parts import KeyPath

FIRST_LOOK = 3
"""Fewer seeds give no interval worth a verdict."""

Coerce = Callable[[Any, Any, KeyPath], Any]
"""(type, value, path) -> the value as that type; problems are reported."""
Report = Callable[[KeyPath, str], None]


@dataclass(frozen=True)
class Decide:
    looks: tuple[int, ...] = ()
    """Numbers of seeds of each arm, increasing."""
    error: float = 0.05
    """The largest probability of a wrong verdict, over all looks together."""
    max_hours: float | None = None
    """Of computing, over all trials of the study; no look begins that would exceed it. None: no limit."""


def merge(
    coerce: Coerce, report: Report, whole: Mapping[str, Any], scale: Mapping[str, Any], path: KeyPath
) -> Decide | None:
    """Return what a scale decides by: the study's `decide`, replaced key by key by its own; None where neither is."""
    found: dict[str, Any] = {}
    for given, place in ((whole, ("decide",)), (scale, path)):
        spec = coerce(Decide, given, place) or Decide()
        own: dict[str, Any] = {key: value for key, value in vars(spec).items() if key in given}
        if given.get("looks") and not own["looks"]:
            del own["looks"]  # not a list of numbers, as was reported
        check(own, report, place)
        found |= own
    if not whole and not scale:
        return None
    if "looks" not in {**whole, **scale}:
        report(path if scale else ("decide",), "looks is missing: numbers of seeds, for example [3, 5, 8, 12, 20]")
    return Decide(**found)


def check(given: Mapping[str, Any], report: Report, path: KeyPath) -> None:
    """Report numbers that are impossible."""
    looks, error, hours = given.get("looks") or (), given.get("error"), given.get("max_hours")
    if given.get("looks") == ():
        report((*path, "looks"), "no looks")
    for i, look in enumerate(looks):
        if look < FIRST_LOOK:
            report((*path, "looks", i), f"{look} seeds are too few to judge by: at least {FIRST_LOOK}")
        elif look > MOST_SEEDS:
            report((*path, "looks", i), f"{look} seeds, at most {MOST_SEEDS}")
        elif i and look <= looks[i - 1]:
            report((*path, "looks", i), f"{look} after {looks[i - 1]}: looks are increasing numbers of seeds")
    if error is not None and not 0 < error < 0.5:
        report((*path, "error"), f"{error:g} is not between 0 and 0.5")
    if hours is not None and hours <= 0:
        report((*path, "max_hours"), f"{hours:g} is too little")


def look_seeds(seeds: Sequence[int], n: int) -> tuple[int, ...]:
    """Return the seeds of a look at n: the study's own, ascending, continued by the smallest unused whole numbers."""
    further = (seed for seed in count() if seed not in seeds)
    return (*sorted(seeds)[:n], *(next(further) for _ in range(n - len(seeds))))
