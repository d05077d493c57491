"""How many tokens ToMe merges in each block."""

from __future__ import annotations

from collections.abc import Sequence


def merge_schedule(r: int | Sequence[int], inflect: float, depth: int) -> tuple[int, ...]:
    """One number per block.

    r: a number; a list per block, 0 where it ends early; or the pair ``(r, inflect)``, a tuple as in the official
    code. inflect: -1 merges most in the first blocks, 0 evenly, 1 most in the last; the sum stays about ``r depth``.
    """
    if isinstance(r, tuple) and len(r) == 2:
        r, inflect = r
    if isinstance(r, Sequence):
        return _listed(r, inflect, depth)
    if r < 0:
        raise ValueError(f"r must not be negative, got {r}")
    if not -1 <= inflect <= 1:
        raise ValueError(f"inflect must lie in [-1, 1], got {inflect}")
    low = int(r * (1 - inflect))
    step = (2 * r - 2 * low) / (depth - 1) if depth > 1 else 0
    return tuple(int(low + step * i) for i in range(depth))


def _listed(r: Sequence[int], inflect: float, depth: int) -> tuple[int, ...]:
    if len(r) > depth:
        raise ValueError(f"r has {len(r)} entries, the model has {depth} blocks")
    if any(n < 0 for n in r):
        raise ValueError(f"r must not be negative, got {min(r)}; inflect makes a schedule rise or fall")
    if inflect:
        raise ValueError("inflect shapes a single r; a list says itself how many tokens each block merges")
    return (*(int(n) for n in r), *[0] * (depth - len(r)))
