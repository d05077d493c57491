"""Tokens sorted by depth, so that the active ones are always the first: a layout is then a slice of the states.

Where all images have equally many active tokens (expert choice, one image) states are ``[B, M, C]`` (`SortedTokens`).
Where they differ, those of the whole batch are packed as ``[T, C]`` (`PackedSortedTokens`): projections and MLP, most
of the cost, run on exactly the active tokens, and only the queries are padded to the longest image for attention.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from dynvit.layers.token_gather import gather_tokens, inverse


class ActivePrefix:
    """The first `active` tokens of each image; a ``TokenLayout`` of sorted states."""

    keys: Tensor | None = None

    def __init__(self, active: int) -> None:
        self.active = active

    def gather(self, x_BNC: Tensor) -> Tensor:
        return x_BNC if self.active == x_BNC.shape[1] else x_BNC[:, : self.active]

    def scatter(self, x_BNC: Tensor, new_BnC: Tensor) -> Tensor:
        return replace_first(x_BNC, new_BnC, 1)

    def pad(self, new_BnC: Tensor) -> Tensor:
        return new_BnC

    def pack(self, padded_BnC: Tensor) -> Tensor:
        return padded_BnC

    def update_cache(self, cache_BMC: Tensor | None, new_BnC: Tensor) -> Tensor:
        """Return the cache, one entry per token, with those of the active tokens replaced."""
        return new_BnC if cache_BMC is None else replace_first(cache_BMC, new_BnC, 1)


class PackedActivePrefix:
    """The first `active` tokens of the packed batch, at most `width` of an image; a ``TokenLayout`` of sorted states.

    keys: ``bool[B, width]``, which padded places are tokens; None where attention is among all tokens.
    """

    def __init__(self, order: PackedSortedTokens, active: int, width: int, keys: Tensor | None = None) -> None:
        self.order, self.active, self.width, self.keys = order, active, width, keys

    def gather(self, x_TC: Tensor) -> Tensor:
        return x_TC[: self.active]

    def scatter(self, x_TC: Tensor, new_FC: Tensor) -> Tensor:
        return replace_first(x_TC, new_FC, 0)

    def pad(self, new_FC: Tensor) -> Tensor:
        # padding is any token: its result is not read, and as a key it is masked
        row_BW = self.order.ranked_row_BM[:, : self.width].clamp(max=self.active - 1)
        return new_FC.index_select(0, row_BW.reshape(-1)).view(self.order.images, self.width, -1)

    def pack(self, padded_BWC: Tensor) -> Tensor:
        order = self.order
        place_F = order.image_T[: self.active] * self.width + order.rank_T[: self.active]
        return padded_BWC.reshape(-1, padded_BWC.shape[-1]).index_select(0, place_F)

    def update_cache(self, cache_BMC: Tensor | None, new_FC: Tensor) -> Tensor:
        if cache_BMC is None:  # the first run has every token
            return self.order.unsort(new_FC)
        flat = cache_BMC.view(-1, cache_BMC.shape[-1])
        write = flat.index_copy if torch.is_grad_enabled() else flat.index_copy_
        return write(0, self.order.order_T[: self.active], new_FC).view_as(cache_BMC)


Prefix: TypeAlias = ActivePrefix | PackedActivePrefix


class SortedTokens:
    """Order of ``[B, M, C]``: every image has the same number of active tokens; layers: those of each layer."""

    def __init__(self, order_BM: Tensor, counts: list[int] | None = None) -> None:
        self.order_BM = order_BM
        self.all: Prefix = ActivePrefix(order_BM.shape[1])
        self.layers: list[Prefix] = [ActivePrefix(n) for n in counts or ()]

    def sort(self, x_BMC: Tensor) -> Tensor:
        return gather_tokens(x_BMC, self.order_BM)

    def unsort(self, x_BMC: Tensor) -> Tensor:
        return gather_tokens(x_BMC, inverse(self.order_BM))


class PackedSortedTokens:
    """Order of ``[T, C]``, the tokens of the whole batch in descending depth; the interface of `SortedTokens`."""

    def __init__(self, depth_BM: Tensor, order_BM: Tensor) -> None:
        self.images, self.tokens = depth_BM.shape
        self.all: Prefix = PackedActivePrefix(self, self.images * self.tokens, self.tokens)
        self.layers: list[Prefix] = []
        self.order_T = depth_BM.reshape(-1).argsort(dim=0, descending=True, stable=True)
        self.row_BM = inverse(self.order_T[None]).view_as(depth_BM)  # of the token in raster order
        self.ranked_row_BM = self.row_BM.gather(1, order_BM)  # of each image's tokens, deepest first
        self.image_T = self.order_T // self.tokens
        self.rank_T = inverse(order_BM).reshape(-1)[self.order_T]

    def sort(self, x_BMC: Tensor) -> Tensor:
        return x_BMC.reshape(-1, x_BMC.shape[-1]).index_select(0, self.order_T)

    def unsort(self, x_TC: Tensor) -> Tensor:
        return x_TC.index_select(0, self.row_BM.view(-1)).view(self.images, self.tokens, -1)


def sort_by_depth(depth_BM: Tensor, layers: int, mask_keys: bool) -> SortedTokens | PackedSortedTokens:
    """Return the order for depths that may differ between images; mask_keys: attention is among active tokens only.

    Waits for the device once, to read the counts.
    """
    order_BM = depth_BM.argsort(dim=1, descending=True, stable=True)
    counts_SB = (depth_BM[None] > torch.arange(layers, device=depth_BM.device)[:, None, None]).sum(-1)
    totals = torch.stack([counts_SB.sum(1), counts_SB.amax(1)], 1).tolist()
    if all(active == width * len(depth_BM) for active, width in totals):
        return SortedTokens(order_BM, [width for _, width in totals])
    order = PackedSortedTokens(depth_BM, order_BM)
    for (active, width), counts_B in zip(totals, counts_SB, strict=True):
        keys = _filled_places(counts_B, width) if mask_keys else None
        order.layers.append(PackedActivePrefix(order, active, width, keys))
    return order


def _filled_places(counts_B: Tensor, width: int) -> Tensor:
    """``bool[B, width]``; an image without tokens keeps one place, since a softmax over nothing is NaN."""
    return torch.arange(width, device=counts_B.device) < counts_B.clamp(min=1)[:, None]


def replace_first(x: Tensor, new: Tensor, dim: int) -> Tensor:
    """Return x with its first entries along `dim` replaced; in place where no gradient can need the old ones."""
    rows = new.shape[dim]
    if rows == x.shape[dim]:
        return new
    if torch.is_grad_enabled():
        return torch.cat([new, x.narrow(dim, rows, x.shape[dim] - rows)], dim)
    x.narrow(dim, 0, rows).copy_(new)
    return x
