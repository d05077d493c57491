"""Axes and blocks -> the design points of a part. Pure: no config, no file, no task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import product
from math import prod

from studies.engine.study.parts import Axis, Block, Coordinates, Part, Patch

Coords = tuple[tuple[str, str | None], ...]
"""Every axis of the part, in its order, with a level's label, or None where the axis is inert."""
BASELINE = "baseline"
MOST_AXES, MOST_LEVELS, MOST_ARMS, MOST_SEEDS, MOST_TRIALS = 50, 1_000, 20_000, 1_000, 100_000
"""Of a part, an axis, a part, a study, a study: known before anything is expanded, so a slip cannot fill the memory."""


@dataclass(frozen=True)
class DesignPoint:
    """One combination of levels of a part's axes, and the kinds of block that contain it."""

    coords: Coords
    blocks: tuple[str, ...]
    label: str

    @property
    def is_baseline(self) -> bool:
        return self.label == BASELINE


def expand(part: Part) -> tuple[DesignPoint, ...]:
    """Return every point once, the baseline first and always, unless the scale skips the part. Points of several blocks
    are merged."""
    if part.skipped:
        return ()
    blocks: dict[Coords, list[str]] = {baseline(part): []}
    for block in part.design:
        for choice in _choices(block):
            kinds = blocks.setdefault(complete(part.axes, choice), [])
            if block.kind not in kinds:
                kinds.append(block.kind)
    first = next(iter(blocks))
    return tuple(
        DesignPoint(coords, tuple(kinds), label(part.axes, coords) if coords != first else BASELINE)
        for coords, kinds in blocks.items()
        if coords == first or not excluded(part, coords)
    )


def size(part: Part) -> int:
    """Return how many points the design has at most: blocks may share some besides the baseline."""
    base = dict(baseline(part))
    sizes = {
        "arms": lambda block: len(block.arms),
        "grid": lambda block: prod(map(len, block.axes.values())) - all(base[a] in on for a, on in block.axes.items()),
        "one_at_a_time": lambda block: sum(len(on) - (base[a] in on) for a, on in block.axes.items()),
    }
    return 0 if part.skipped else 1 + sum(sizes[block.kind](block) for block in part.design)


def baseline(part: Part) -> Coords:
    return complete(part.axes, {})


def _choices(block: Block) -> Iterator[Mapping[str, str]]:
    """Yield the levels that a block gives to each of its points; axes that it does not name are at their baselines."""
    if block.kind == "arms":
        yield from block.arms
    elif block.kind == "grid":
        for labels in product(*block.axes.values()):
            yield dict(zip(block.axes, labels, strict=True))
    else:
        yield {}
        for axis, levels in block.axes.items():
            for level in levels:
                yield {axis: level}


def complete(axes: Mapping[str, Axis], choice: Mapping[str, str], inert: Set[str] = frozenset()) -> Coords:
    """Return a level for every axis: as chosen, else its baseline; None for axes that do not act there, or are inert
    for another reason."""
    placed: dict[str, str | None] = {}

    def place(name: str) -> str | None:
        if name not in placed:
            axis = axes[name]
            acts = name not in inert and all(place(other) in labels for other, labels in axis.only.items())
            placed[name] = choice.get(name, axis.baseline) if acts else None
        return placed[name]

    return tuple((name, place(name)) for name in axes)


def label(axes: Mapping[str, Axis], coords: Coords) -> str:
    """Return ``recursion=1 slices=half``: the axes that are not at their baseline."""
    varied = [f"{name}={level}" for name, level in coords if level not in (None, axes[name].baseline)]
    return " ".join(varied) or BASELINE


def matches(coords: Coords, wanted: Coordinates) -> bool:
    """Return whether every wanted axis is at one of its wanted levels."""
    found = dict(coords)
    return all(found.get(axis) in labels for axis, labels in wanted.items())


def excluded(part: Part, coords: Coords) -> bool:
    return any(matches(coords, entry) for entry in part.exclude)


def patches(part: Part, point: DesignPoint) -> Patch:
    """Return the settings of a point over its part's base: inert axes at their baselines, then acting axes' levels."""
    inert: list[Patch] = []
    acting: list[Patch] = []
    for name, level in point.coords:
        axis = part.axes[name]
        (inert if level is None else acting).append(axis.level(axis.baseline if level is None else level).patch)
    return tuple(setting for group in (*inert, *acting) for setting in group)
