"""When tokens are ranked, how many are kept, and in which blocks the ranking score is needed (Evo-ViT on DeiT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

STAGE = 4  # blocks that share one selection in stage mode


@dataclass(frozen=True)
class Schedule:
    """groups: (first block, one past the last, tokens kept); before the first group all tokens are processed.

    scored: the blocks whose class attention is used. weights: weight of each block's row in the running score.
    """

    groups: tuple[tuple[int, int, int], ...]
    scored: range
    weights: tuple[float, ...]


def schedule(
    depth: int,
    num_tokens: int,
    keep_ratio: float | Sequence[float],
    prune_from: int,
    score_weight: float | Sequence[float],
    selection: Literal["stage", "layer"],
) -> Schedule:
    """The plan of one model; ValueError for ratios outside (0, 1], wrong lengths, nothing kept."""
    if selection not in ("stage", "layer"):
        raise ValueError(f'selection is "stage" or "layer", not {selection!r}')
    if not 1 <= prune_from <= depth:
        raise ValueError(f"prune_from must be between 1 and the depth {depth}, got {prune_from}")
    ratios = per_block(keep_ratio, depth, "keep_ratio")
    weights = per_block(score_weight, depth, "score_weight")
    if not isinstance(score_weight, Sequence):
        weights = tuple(1.0 if i < prune_from else w for i, w in enumerate(weights))
    step = STAGE if selection == "stage" else 1
    groups = tuple(
        (start, min(start + step, depth), kept_tokens(ratios[start], num_tokens))
        for start in range(prune_from, depth, step)
    )
    ranked = [start for start, _, kept in groups if kept < num_tokens]
    if not ranked:
        return Schedule(groups, range(0), weights)
    # A weight of 1 forgets all scores before it; after the last ranking they are not used.
    forgetting = [i for i in range(ranked[0]) if weights[i] == 1.0]
    return Schedule(groups, range(max(forgetting, default=0), ranked[-1]), weights)


def kept_tokens(ratio: float, num_tokens: int) -> int:
    """K = floor(ratio N), at least one."""
    kept = int(ratio * num_tokens)
    if kept < 1:
        raise ValueError(f"keep_ratio {ratio} keeps none of {num_tokens} tokens")
    return kept


def per_block(value: float | Sequence[float], count: int, name: str) -> tuple[float, ...]:
    """One number for all, or `count` numbers; each in (0, 1]."""
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count:
        raise ValueError(f"{name} has {len(values)} entries, needed are {count}")
    wrong = [v for v in values if not 0 < v <= 1]
    if wrong:
        raise ValueError(f"{name} must lie in (0, 1], got {wrong[0]}")
    return tuple(float(v) for v in values)
