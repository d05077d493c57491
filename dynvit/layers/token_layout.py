"""Layouts: which tokens of each image a block works on, and where its results go.

Everything in a block but attention works token by token, so tokens that differ in number between images are packed
in one long row ``[F, C]`` there and are padded to ``[B', W, C]`` for the attention product alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dynvit.layers.token_gather import gather_tokens, scatter_tokens


class TokenLayout(Protocol):
    """Active tokens of states, ``[B, T, C]`` or in a form of their own."""

    keys: Tensor | None
    """``bool[B, T']``: which padded tokens attention may look at; None: all."""

    def gather(self, x: Tensor) -> Tensor:
        """Return the tokens that the block works on."""
        ...

    def scatter(self, x: Tensor, new: Tensor) -> Tensor:
        """Return x with the active tokens replaced."""
        ...

    def pad(self, new: Tensor) -> Tensor:
        """Return ``[B', W, E]`` for attention."""
        ...

    def pack(self, padded: Tensor) -> Tensor:
        """Undo `pad`."""
        ...


class GridLayout(TokenLayout, Protocol):
    """Active tokens of states ``[B, T, C]`` in the order of the grid."""

    def to_grid(self, new: Tensor, tokens: int) -> Tensor:
        """Return ``[B, tokens, E]``, zero where a token is inactive."""
        ...


class Dense:
    """All tokens of all images."""

    keys: Tensor | None = None

    def gather(self, x: Tensor) -> Tensor:
        return x

    def scatter(self, x: Tensor, new: Tensor) -> Tensor:
        return new

    def to_grid(self, new: Tensor, tokens: int) -> Tensor:
        return new

    def pad(self, new: Tensor) -> Tensor:
        return new

    def pack(self, padded: Tensor) -> Tensor:
        return padded


class Masked(Dense):
    """Dense shapes: inactive tokens are computed, but are no keys and keep their value."""

    def __init__(self, active_BT: Tensor) -> None:
        self.keys = active_BT

    def scatter(self, x: Tensor, new: Tensor) -> Tensor:
        return torch.where(self.keys[..., None], new, x)

    def to_grid(self, new: Tensor, tokens: int) -> Tensor:
        return torch.where(self.keys[..., None], new, 0)


class Gathered(Dense):
    """The same number of tokens in each image, by index: static shapes."""

    def __init__(self, index_BK: Tensor) -> None:
        self.index_BK = index_BK

    def gather(self, x: Tensor) -> Tensor:
        return gather_tokens(x, self.index_BK)

    def scatter(self, x: Tensor, new: Tensor) -> Tensor:
        return scatter_tokens(x, self.index_BK, new)

    def to_grid(self, new: Tensor, tokens: int) -> Tensor:
        return self.scatter(new.new_zeros(new.shape[0], tokens, new.shape[-1]), new)


class _Padding(NamedTuple):
    shape: tuple[int, int]
    row_BW: Tensor
    """Packed token at each padded place; any token where there is none, since it is hidden as a key."""
    place_F: Tensor
    keys: Tensor | None


class Packed:
    """Any tokens of the batch in one row of F tokens, image by image.

    flat_F: their increasing indices in the flattened batch ``[B * T]``. counts_B: tokens of each image that has any,
    needed for attention only; images without tokens are left out of the padded form.
    """

    def __init__(self, flat_F: Tensor, batch: int, counts_B: Tensor | None = None) -> None:
        self.flat_F, self.batch, self.counts_B = flat_F, batch, counts_B

    @classmethod
    def from_mask(cls, active_BT: Tensor) -> Packed:
        """Layout of the active tokens; at least one in each image."""
        return cls(active_BT.reshape(-1).nonzero()[:, 0], len(active_BT), active_BT.sum(1))

    def gather(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.flat_F)

    def scatter(self, x: Tensor, new: Tensor) -> Tensor:
        return x.flatten(0, 1).index_copy(0, self.flat_F, new.to(x.dtype)).view_as(x)

    def to_grid(self, new: Tensor, tokens: int) -> Tensor:
        return self.scatter(new.new_zeros(self.batch, tokens, new.shape[-1]), new)

    @cached_property
    def _padding(self) -> _Padding:
        counts_B, rows, device = self.counts_B, len(self.flat_F), self.flat_F.device
        shape = (len(counts_B), int(counts_B.max()))
        first_B, column_W = counts_B.cumsum(0) - counts_B, torch.arange(shape[1], device=device)
        row_BW = (first_B[:, None] + column_W).clamp(max=rows - 1)
        shift_B = torch.arange(shape[0], device=device) * shape[1] - first_B
        place_F = torch.arange(rows, device=device) + shift_B.repeat_interleave(counts_B, output_size=rows)
        full = rows == shape[0] * shape[1]
        return _Padding(shape, row_BW, place_F, None if full else column_W < counts_B[:, None])

    @property
    def keys(self) -> Tensor | None:
        return self._padding.keys

    def pad(self, new: Tensor) -> Tensor:
        padding = self._padding
        rows = new if padding.keys is None else new.index_select(0, padding.row_BW.view(-1))
        return rows.view(*padding.shape, -1)

    def pack(self, padded: Tensor) -> Tensor:
        rows = padded.flatten(0, 1)
        return rows if self._padding.keys is None else rows.index_select(0, self._padding.place_F)
