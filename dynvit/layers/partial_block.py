"""A timm transformer block run on some tokens of each image: all, masked, gathered in equal counts, or ragged.

A `Layout` says which tokens a block sees and where its results go. Inside a block everything but attention works
token by token, so ragged tokens lie in one long row there and are padded only for the attention product.
Tokens are ``[class, patches]``; T counts both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_gather import gather_tokens, scatter_tokens

Local = Callable[[Tensor], Tensor]


class Layout(Protocol):
    """keys: ``bool[B, T']`` of the tokens that attention may look at, or None; x is ``[B, T, C]``."""

    keys: Tensor | None

    def take(self, x: Tensor) -> Tensor:
        """The tokens the block works on."""
        ...

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        """x with the active tokens replaced."""
        ...

    def spread(self, new: Tensor, tokens: int) -> Tensor:
        """On the full grid ``[B, T, E]``, zero where a token is paused."""
        ...

    def pad(self, new: Tensor) -> Tensor:
        """Into ``[B, T', E]`` for attention."""
        ...

    def pack(self, padded: Tensor) -> Tensor:
        """Undoes ``pad``."""
        ...


class Everything:
    """All tokens of all images."""

    keys: Tensor | None = None

    def take(self, x: Tensor) -> Tensor:
        return x

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        return new

    def spread(self, new: Tensor, tokens: int) -> Tensor:
        return new

    def pad(self, new: Tensor) -> Tensor:
        return new

    def pack(self, padded: Tensor) -> Tensor:
        return padded


class Masked(Everything):
    """Dense shapes; paused tokens are computed, but are no keys and keep their value."""

    def __init__(self, active_BT: Tensor) -> None:
        self.keys = active_BT

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        return torch.where(self.keys[..., None], new, x)

    def spread(self, new: Tensor, tokens: int) -> Tensor:
        return torch.where(self.keys[..., None], new, 0)


class Gathered(Everything):
    """The same number of tokens in each image: static shapes."""

    def __init__(self, index_BK: Tensor) -> None:
        self.index_BK = index_BK

    def take(self, x: Tensor) -> Tensor:
        return gather_tokens(x, self.index_BK)

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        return scatter_tokens(x, self.index_BK, new)

    def spread(self, new: Tensor, tokens: int) -> Tensor:
        return self.put(new.new_zeros(len(new), tokens, new.shape[-1]), new)


class Rows(Everything):
    """Any tokens of the batch, in one row of F tokens."""

    def __init__(self, flat_F: Tensor, batch: int) -> None:
        self.flat_F, self.batch = flat_F, batch

    def take(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).index_select(0, self.flat_F)

    def put(self, x: Tensor, new: Tensor) -> Tensor:
        return x.flatten(0, 1).index_copy(0, self.flat_F, new.to(x.dtype)).view_as(x)

    def spread(self, new: Tensor, tokens: int) -> Tensor:
        return self.put(new.new_zeros(self.batch, tokens, new.shape[-1]), new)


class Ragged(Rows):
    """Each image its own number of tokens; padded to the largest for attention alone."""

    def __init__(self, active_BT: Tensor) -> None:
        super().__init__(active_BT.reshape(-1).nonzero()[:, 0], len(active_BT))
        counts_B = active_BT.sum(1)
        self.shape = (len(active_BT), int(counts_B.max()))
        first_B = torch.arange(len(counts_B), device=counts_B.device) * self.shape[1]
        place_BT = active_BT.cumsum(1) - 1 + first_B[:, None]
        self.place_F = place_BT.reshape(-1)[self.flat_F]
        full = self.shape[0] * self.shape[1] == len(self.flat_F)
        self.keys = None if full else torch.arange(self.shape[1], device=counts_B.device) < counts_B[:, None]

    def pad(self, new: Tensor) -> Tensor:
        if self.keys is None:
            return new.view(*self.shape, -1)
        empty = new.new_zeros(self.shape[0] * self.shape[1], new.shape[-1])
        return empty.index_copy(0, self.place_F, new).view(*self.shape, -1)

    def pack(self, padded: Tensor) -> Tensor:
        rows = padded.flatten(0, 1)
        return rows if self.keys is None else rows.index_select(0, self.place_F)


def run(
    block: Block, u_BTC: Tensor, layout: Layout, row: bool = False, local: Local | None = None
) -> tuple[Tensor, Tensor | None]:
    """The block's output for the layout's tokens, and the class attention ``[B, T]`` (0 where paused) if asked.

    local: map of the MLP's hidden layer on the full grid ``[B, T, H]``, paused positions being zero.
    """
    x = layout.take(u_BTC)
    if not row and local is None and not isinstance(layout, Ragged):
        return block(x, attn_mask=_mask(layout)), None
    mixed, row_BK = _attend(block.attn, block.norm1(x), layout, row)
    x = x + block.drop_path1(block.ls1(mixed))
    out = feed_forward(block.mlp, block.norm2(x), layout, u_BTC.shape[1], local)
    row_BT = None if row_BK is None else layout.spread(layout.pack(row_BK[..., None]), u_BTC.shape[1])[..., 0]
    return x + block.drop_path2(block.ls2(out)), row_BT


def feed_forward(mlp: Mlp, x: Tensor, layout: Layout, tokens: int, local: Local | None) -> Tensor:
    """timm's MLP for the layout's tokens, `local` acting on the hidden layer of all `tokens`."""
    hidden = mlp.fc1(x)
    if local is not None:
        hidden = layout.take(local(layout.spread(hidden, tokens)))
    return mlp.drop2(mlp.fc2(mlp.norm(mlp.drop1(mlp.act(hidden)))))


def _mask(layout: Layout) -> Tensor | None:
    return None if layout.keys is None else layout.keys[:, None, None]


def _attend(attn: Attention, x: Tensor, layout: Layout, row: bool) -> tuple[Tensor, Tensor | None]:
    qkv = layout.pad(attn.qkv(x))
    q, k, v = qkv.view(*qkv.shape[:2], 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attn.q_norm(q), attn.k_norm(k)
    mask, dropout = _mask(layout), attn.attn_drop.p if attn.training else 0.0
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    out = attn.norm(layout.pack(mixed.transpose(1, 2).flatten(2)))
    if attn.gate is not None:
        out = out * attn.gate(x).sigmoid()
    out = attn.proj_drop(attn.proj(out))
    if not row:
        return out, None
    with exclude_from_macs():  # the published cost counts this row once, as part of the attention product
        return out, class_row(q[:, :, :1], k, mask)


def class_row(q_BH1D: Tensor, k_BHTD: Tensor, keys_B11T: Tensor | None = None) -> Tensor:
    """Attention of the class token, mean over heads, ``[B, T]``."""
    logits = (q_BH1D * q_BH1D.shape[-1] ** -0.5) @ k_BHTD.transpose(-2, -1)
    if keys_B11T is not None:
        logits = logits.masked_fill(~keys_B11T, -torch.inf)
    return logits.softmax(-1).mean(1)[:, 0]


def full_cls_attention(block: Block, u_BTC: Tensor) -> Tensor:
    """The class attention ``[B, T]`` that the block would have with every token active; all keys are made."""
    attn, x = block.attn, block.norm1(u_BTC)
    C = attn.num_heads * attn.head_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    q = F.linear(x[:, :1], weight[:C], None if bias is None else bias[:C])
    k = F.linear(x, weight[C : 2 * C], None if bias is None else bias[C : 2 * C])
    q, k = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k))
    with exclude_from_macs():
        return class_row(attn.q_norm(q), attn.k_norm(k))
