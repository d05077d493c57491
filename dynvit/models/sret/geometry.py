"""Geometry of a recursive pyramid, checked: grids, applications per stage, slices per pass, drop path (SReT)."""

from __future__ import annotations

from collections.abc import Sequence

UNIQUE = (2, 5, 3)  # unique blocks per stage of every released model


def check_widths(base_dim: int, heads: Sequence[int], mlp_ratio: float, nll_ratio: float) -> None:
    if len(heads) != 3 or min(heads) < 1:
        raise ValueError(f"heads must be three numbers of at least 1, one per stage, not {tuple(heads)!r}")
    if any(heads[s + 1] % heads[s] for s in range(2)):
        raise ValueError(f"heads of a stage must be a multiple of the stage before, not {tuple(heads)!r}")
    if base_dim < 2 or min(mlp_ratio, nll_ratio) * base_dim < 1:
        raise ValueError(f"base_dim {base_dim} is too small for mlp_ratio {mlp_ratio} and nll_ratio {nll_ratio}")


def plan_grids(img_size: int | Sequence[int], stem_strides: Sequence[int]) -> list[tuple[int, int]]:
    """(rows, columns) of every stage: the stem divides by its strides, each pooling by two."""
    size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    if len(stem_strides) != 3 or any(s not in (1, 2) for s in stem_strides):
        raise ValueError(f"stem_strides must be three numbers, each 1 or 2, not {tuple(stem_strides)!r}")
    step = reduction(stem_strides, len(UNIQUE) - 1)
    if len(size) != 2 or any(n < step or n % step for n in size):
        raise ValueError(f"img_size {img_size!r} must be a multiple of {step}, the stem's strides and two poolings")
    reductions = [reduction(stem_strides, s) for s in range(len(UNIQUE))]
    return [(size[0] // r, size[1] // r) for r in reductions]


def reduction(stem_strides: Sequence[int], stage: int) -> int:
    """Image pixels per token of a stage, along one side."""
    first, second, third = stem_strides
    return first * second * third * 2**stage


def plan_depth(depth: Sequence[int] | None, recursion: int, unique: Sequence[int] = UNIQUE) -> list[int]:
    """Block applications per stage; by default every unique block as often as `recursion` says."""
    if isinstance(recursion, bool) or not isinstance(recursion, int) or recursion < 1:
        raise ValueError(f"recursion must be a whole number of at least 1, not {recursion!r}")
    if len(unique) != len(UNIQUE) or any(u < 1 for u in unique):
        raise ValueError(f"unique must be three block counts of at least 1, not {tuple(unique)!r}")
    depth = [u * recursion for u in unique] if depth is None else list(depth)
    if len(depth) != len(UNIQUE) or any(d < recursion or d % recursion for d in depth):
        raise ValueError(f"depth must be three multiples of the recursion {recursion}, not {depth}")
    return depth


def plan_drop_path(rate: float, depth: Sequence[int], recursion: int) -> list[list[float]]:
    """Rate of every unique block: a ramp over all applications, of which a stage takes its first values only.

    Application j of D has rate * j / D; a stage with U unique blocks uses the first U of its applications' values,
    and a block has one rate in all of its passes.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"drop_path_rate must lie in [0, 1), got {rate}")
    total = sum(depth)
    starts = [sum(depth[:s]) for s in range(len(depth))]
    return [[rate * (starts[s] + u) / total for u in range(d // recursion)] for s, d in enumerate(depth)]


def plan_slices(
    groups: Sequence[Sequence[int] | int], grids: Sequence[tuple[int, int]], passes: int
) -> list[tuple[int, ...]]:
    """Groups of every stage's passes: stage -> one count per pass.

    groups: per stage one count per pass; a short list repeats its last entry, a long one is cut.
    grids: (rows, columns) of every stage. A count must divide the stage's tokens.
    """
    if isinstance(groups, (int, str)) or len(groups) != len(grids):
        raise ValueError(f"groups must have one entry per stage ({len(grids)}), not {groups!r}")
    return [_stage_slices(s, groups[s], grids[s], passes) for s in range(len(grids))]


def _stage_slices(stage: int, counts: Sequence[int] | int, grid: tuple[int, int], passes: int) -> tuple[int, ...]:
    listed = [counts] if isinstance(counts, int) else list(counts)
    if not listed or any(isinstance(g, bool) or not isinstance(g, int) or g < 1 for g in listed):
        raise ValueError(f"groups of stage {stage + 1} must be whole numbers of at least 1, not {counts!r}")
    tokens = grid[0] * grid[1]
    used = (listed + listed[-1:] * passes)[:passes]
    for r, g in enumerate(used):
        if tokens % g:
            near = " and ".join(map(str, nearest_divisors(tokens, g)))
            raise ValueError(
                f"groups of stage {stage + 1}, pass {r + 1}: {g} does not divide the {tokens} tokens of its "
                f"{grid[0]} x {grid[1]} grid; nearest divisors: {near}"
            )
    return tuple(used)


def nearest_divisors(n: int, g: int) -> list[int]:
    """The divisors of n next to g, the nearer one first."""
    divisors = [d for d in range(1, n + 1) if n % d == 0]
    below, above = [d for d in divisors if d <= g][-1:], [d for d in divisors if d >= g][:1]
    return sorted({*below, *above}, key=lambda d: (abs(d - g), d))


def plan_projections(nll: bool | str, recursion: int) -> int:
    """Non-linear projection layers per unique block."""
    layers = {True: recursion, "shared": 1, False: 0}
    if nll not in layers:
        raise ValueError(f"nll must be true, false or 'shared', not {nll!r}")
    return layers[nll]
