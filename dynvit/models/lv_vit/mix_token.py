"""MixToken: one box of patch tokens is taken from the flipped batch (LV-ViT, arXiv 2104.10858)."""

from __future__ import annotations

import torch
from torch import Tensor


def random_box(grid: tuple[int, int], device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """``bool[N]``, the patches in a box as CutMix draws it: area 1 - lam with lam uniform, any center, clipped.

    Nothing waits for the device. The generator must live on that device; without one torch's own is used.
    """
    u_3 = torch.rand(3, device=device, generator=generator)
    side = (1 - u_3[0]).sqrt()
    rows, columns = (_inside(n, side, u) for n, u in zip(grid, u_3[1:], strict=True))
    return (rows[:, None] & columns).flatten()


def _inside(cells: int, share: Tensor, center: Tensor) -> Tensor:
    """``bool[cells]``: an interval of that share of the cells around a uniform center."""
    length, middle = (cells * share).floor(), (cells * center).floor()
    place = torch.arange(cells, device=share.device)
    start = middle - (length / 2).floor()
    return (place >= start) & (place < middle + (length / 2).floor())


def swap(x_BND: Tensor, inside_N: Tensor) -> Tensor:
    """Tokens in the box from the flipped batch; its own inverse."""
    return torch.where(inside_N[:, None], x_BND.flip(0), x_BND)
