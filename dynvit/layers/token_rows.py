"""Rows of tokens sorted so that the tokens still at work are always the first ones.

Sorting once by depth turns "gather the active tokens" into a slice at every later layer. Where all images have equally
many tokens at work (expert choice, one image) rows are ``[B, n, C]`` (`EvenRows`). Where they differ, rows of the
whole batch are packed as ``[T, C]`` (`PackedRows`): projections and MLP, most of the cost, run on exactly the active
tokens, and only the queries are padded to the longest image for attention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynvit.layers.token_gather import gather_tokens, inverse


@dataclass(frozen=True)
class Level:
    """How many rows are active. width: the most of any image; keys_B11W: bool, which columns of the padded layout
    ``[B, width]`` are tokens, None where all are."""

    rows: int
    width: int
    keys_B11W: Tensor | None = None


class EvenRows:
    """Rows ``[B, n, C]``: every image has the same number of active tokens, the first ``level.rows``."""

    def __init__(self, order_BM: Tensor, counts: list[int] | None = None) -> None:
        self.order_BM = order_BM
        self.all = Level(order_BM.shape[1], order_BM.shape[1])
        self.levels = [Level(n, n) for n in counts or ()]

    def sort(self, x_BMC: Tensor) -> Tensor:
        return gather_tokens(x_BMC, self.order_BM)

    def unsort(self, x_BMC: Tensor) -> Tensor:
        return gather_tokens(x_BMC, inverse(self.order_BM))

    def take(self, x_BNC: Tensor, level: Level) -> Tensor:
        return x_BNC if level.rows == x_BNC.shape[1] else x_BNC[:, : level.rows]

    def put(self, x_BNC: Tensor, new_BnC: Tensor) -> Tensor:
        return replace_first(x_BNC, new_BnC, 1)

    def spread(self, rows_BnC: Tensor, level: Level) -> Tensor:
        """Rows to ``[B, width, C]``."""
        return rows_BnC

    def pack(self, x_BWC: Tensor, level: Level) -> Tensor:
        """``[B, width, C]`` to rows."""
        return x_BWC

    def store(self, cache_BMC: Tensor | None, rows_BnC: Tensor, level: Level) -> Tensor:
        """The cache with one row per token, rows of this level written anew."""
        return rows_BnC if cache_BMC is None else replace_first(cache_BMC, rows_BnC, 1)


class PackedRows:
    """Rows ``[T, C]`` of the whole batch in descending depth; the interface of `EvenRows`."""

    def __init__(self, depth_BM: Tensor, order_BM: Tensor, levels: list[Level]) -> None:
        self.images, self.tokens = depth_BM.shape
        self.all = Level(self.images * self.tokens, self.tokens)
        self.levels = levels
        self.order_T = depth_BM.reshape(-1).argsort(dim=0, descending=True, stable=True)
        self.row_BM = inverse(self.order_T[None]).view_as(depth_BM)  # of the token in raster order
        self.ranked_row_BM = self.row_BM.gather(1, order_BM)  # of each image's tokens, deepest first
        self.image_T = self.order_T // self.tokens
        self.rank_T = inverse(order_BM).reshape(-1)[self.order_T]

    def sort(self, x_BMC: Tensor) -> Tensor:
        return x_BMC.reshape(-1, x_BMC.shape[-1]).index_select(0, self.order_T)

    def unsort(self, x_TC: Tensor) -> Tensor:
        return x_TC.index_select(0, self.row_BM.view(-1)).view(self.images, self.tokens, -1)

    def take(self, x_TC: Tensor, level: Level) -> Tensor:
        return x_TC[: level.rows]

    def put(self, x_TC: Tensor, new_RC: Tensor) -> Tensor:
        return replace_first(x_TC, new_RC, 0)

    def spread(self, rows_RC: Tensor, level: Level) -> Tensor:
        # padding is any row: nobody reads its result, and as a key it is masked
        row_BW = self.ranked_row_BM[:, : level.width].clamp(max=level.rows - 1)
        return rows_RC.index_select(0, row_BW.reshape(-1)).view(self.images, level.width, -1)

    def pack(self, x_BWC: Tensor, level: Level) -> Tensor:
        place_R = self.image_T[: level.rows] * level.width + self.rank_T[: level.rows]
        return x_BWC.reshape(-1, x_BWC.shape[-1]).index_select(0, place_R)

    def store(self, cache_BMC: Tensor | None, rows_RC: Tensor, level: Level) -> Tensor:
        if cache_BMC is None:  # the first time holds every token
            return self.unsort(rows_RC)
        flat = cache_BMC.view(-1, cache_BMC.shape[-1])
        write = flat.index_copy if torch.is_grad_enabled() else flat.index_copy_
        return write(0, self.order_T[: level.rows], rows_RC).view_as(cache_BMC)


def rows_by_depth(depth_BM: Tensor, layers: int, key_masks: bool) -> EvenRows | PackedRows:
    """Rows for depths that may differ between images; key_masks: whether attention is among active tokens only.

    Waits for the device once, to learn the counts.
    """
    order_BM = depth_BM.argsort(dim=1, descending=True, stable=True)
    counts_SB = (depth_BM[None] > torch.arange(layers, device=depth_BM.device)[:, None, None]).sum(-1)
    totals = torch.stack([counts_SB.sum(1), counts_SB.amax(1)], 1).tolist()
    if all(rows == width * len(depth_BM) for rows, width in totals):
        return EvenRows(order_BM, [width for _, width in totals])
    levels = [
        Level(rows, width, _columns(counts_B, width) if key_masks else None)
        for (rows, width), counts_B in zip(totals, counts_SB, strict=True)
    ]
    return PackedRows(depth_BM, order_BM, levels)


def _columns(counts_B: Tensor, width: int) -> Tensor:
    """bool ``[B, 1, 1, width]``; an image without tokens keeps one column, a softmax over nothing is NaN."""
    return (torch.arange(width, device=counts_B.device) < counts_B.clamp(min=1)[:, None])[:, None, None]


def replace_first(x: Tensor, new: Tensor, dim: int) -> Tensor:
    """x with its first rows replaced; in place where no gradient can need the old ones."""
    rows = new.shape[dim]
    if rows == x.shape[dim]:
        return new
    if torch.is_grad_enabled():
        return torch.cat([new, x.narrow(dim, rows, x.shape[dim] - rows)], dim)
    x.narrow(dim, 0, rows).copy_(new)
    return x
