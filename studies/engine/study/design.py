"""Axes and blocks -> the points of a part. Pure: no config, no file, no task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from studies.engine.study.model import Axis, Block, Coordinates, Part, Patch

Coords = tuple[tuple[str, str | None], ...]
"""Every axis of the part, in its order, with a level's label, or None where the axis is inert."""
BASELINE = "baseline"


@dataclass(frozen=True)
class Point:
    """One setting of a part's axes, and the kinds of block that ask for it."""

    coords: Coords
    blocks: tuple[str, ...]
    label: str

    @property
    def is_baseline(self) -> bool:
        return self.label == BASELINE


def expand(part: Part) -> tuple[Point, ...]:
    """Every point once, the baseline first. Points of several blocks are merged; the baseline is always there."""
    blocks: dict[Coords, list[str]] = {baseline(part): []}
    for block in part.design:
        for choice in _choices(block):
            coords = settle(part.axes, choice)
            asking = blocks.setdefault(coords, [])
            if block.kind not in asking:
                asking.append(block.kind)
    first = next(iter(blocks))
    return tuple(
        Point(coords, tuple(asking), label(part.axes, coords) if coords != first else BASELINE)
        for coords, asking in blocks.items()
        if coords == first or not excluded(part, coords)
    )


def baseline(part: Part) -> Coords:
    return settle(part.axes, {})


def _choices(block: Block) -> Iterator[Mapping[str, str]]:
    """What a block says of each of its points; axes that it does not name sit at their baselines."""
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


def settle(axes: Mapping[str, Axis], choice: Mapping[str, str]) -> Coords:
    """The choice completed with baselines, axes that do not act there set to None."""
    placed: dict[str, str | None] = {}

    def place(name: str) -> str | None:
        if name not in placed:
            axis = axes[name]
            acts = all(place(other) in labels for other, labels in axis.only.items())
            placed[name] = choice.get(name, axis.baseline) if acts else None
        return placed[name]

    return tuple((name, place(name)) for name in axes)


def label(axes: Mapping[str, Axis], coords: Coords) -> str:
    """``recursion=1 slices=half``: the axes that left their baseline."""
    moved = [f"{name}={level}" for name, level in coords if level not in (None, axes[name].baseline)]
    return " ".join(moved) or BASELINE


def matches(coords: Coords, wanted: Coordinates) -> bool:
    """Whether every axis that is wanted sits at one of the wanted levels."""
    there = dict(coords)
    return all(there.get(axis) in labels for axis, labels in wanted.items())


def excluded(part: Part, coords: Coords) -> bool:
    return any(matches(coords, entry) for entry in part.exclude)


def patches(part: Part, point: Point) -> Patch:
    """The settings of a point over its part's base: inert axes at their baseline, then each acting axis's level."""
    inert: list[Patch] = []
    acting: list[Patch] = []
    for name, level in point.coords:
        axis = part.axes[name]
        (inert if level is None else acting).append(axis.level(axis.baseline if level is None else level).patch)
    return tuple(setting for group in (*inert, *acting) for setting in group)
