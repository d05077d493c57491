"""Controls that know nothing of the image: tokens at random, and tokens on a regular grid.

A method is worth its name where it keeps more accuracy than these two at the same number of tokens.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch

from dynvit.reduction.grouping import Grouping, Places
from dynvit.reduction.keeping import Keeping
from dynvit.reduction.signals import Signals
from dynvit.reduction.stream import Stream


@dataclass(frozen=True)
class _Fixed(Keeping):
    """Keeps the same patches of every image."""

    def group(self, stream: Stream, signals: Signals | None, kept: int, block: int, places: Places) -> Grouping:
        B = stream.x_BND.shape[0]
        before, after = list(range(places.patches)), []
        for count in [count for count in places.plan[: block + 1] if count is not None and count < places.patches]:
            before, after = (after or before), self.choose(after or before, count, places)
        place_of = {patch: i for i, patch in enumerate(before)}
        index_K = torch.tensor([place_of[patch] for patch in after], device=stream.x_BND.device)
        return Grouping(torch.cat([places.front(B), index_K.expand(B, -1) + places.prefix], 1))

    def choose(self, patches: list[int], count: int, places: Places) -> list[int]:
        """`count` of the patches that are left, rising."""
        raise NotImplementedError


@dataclass(frozen=True)
class Random(_Fixed):
    """Keeps tokens that `seed` draws, the same of every image, so that a model's answer can be repeated."""

    seed: int = 0
    """Of the draw."""

    name: ClassVar[str] = "random"

    def choose(self, patches: list[int], count: int, places: Places) -> list[int]:
        rank = _draw(places.patches, self.seed)
        return sorted(sorted(patches, key=rank.__getitem__)[:count])


@dataclass(frozen=True)
class Uniform(_Fixed):
    """Keeps tokens on a regular grid: rows at equal distance, tokens at equal distance within each."""

    name: ClassVar[str] = "uniform"

    def choose(self, patches: list[int], count: int, places: Places) -> list[int]:
        return _on_grid(patches, count, places.grid)


@torch.compiler.assume_constant_result
def _draw(patches: int, seed: int) -> list[int]:
    """A random rank for each patch: the lowest stay, so that each place draws from what the last one left. In a graph
    a constant."""
    return random.Random(seed).sample(range(patches), patches)


@torch.compiler.assume_constant_result
def _on_grid(patches: list[int], count: int, grid: tuple[int, int]) -> list[int]:
    """In a graph a constant."""
    return list(_grid(tuple(patches), count, grid))


@cache
def _grid(patches: tuple[int, ...], count: int, grid: tuple[int, int]) -> tuple[int, ...]:
    """The patches next to the points of a regular grid, each taken once."""
    height, width = grid
    rows = min(max(round(math.sqrt(count * height / width)), 1), count)
    left, taken = set(patches), []
    for row in range(rows):
        columns = count * (row + 1) // rows - count * row // rows
        for column in range(columns):
            y, x = (row + 0.5) * height / rows - 0.5, (column + 0.5) * width / columns - 0.5
            nearest = min(left, key=lambda p: ((p // width - y) ** 2 + (p % width - x) ** 2, p))
            left.remove(nearest)
            taken.append(nearest)
    return tuple(sorted(taken))
