"""A timm Swin block run on some tokens of a dense grid: all, masked inside their windows, or the active ones alone.

Everything but attention works token by token, so active tokens lie in one row there. For attention they take their
places in their windows: a paused token is no key, and a window without an active token is left out.
Tokens are ``[B, N, C]`` in raster order; M counts active windows, A the places of a window.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention, window_partition, window_reverse
from torch import Tensor

from dynvit.layers.block import GridMap, feed_forward
from dynvit.layers.full_precision import at_least_float32, autocast_off
from dynvit.layers.token_layout import GridLayout, Packed

Grid = tuple[int, int]


def into_windows(x_BNC: Tensor, block: SwinTransformerBlock, grid: Grid, border: float = 0) -> Tensor:
    """``[M, A, C]``; where the grid is no multiple of the window, places of value `border` are added."""
    (wide, high), shift = block.window_size[::-1], block.shift_size
    map_BHWC = x_BNC.unflatten(1, grid)
    if any(shift):
        map_BHWC = map_BHWC.roll((-shift[0], -shift[1]), (1, 2))
    map_BHWC = F.pad(map_BHWC, (0, 0, 0, -grid[1] % wide, 0, -grid[0] % high), value=border)
    return window_partition(map_BHWC, block.window_size).flatten(1, 2)


def from_windows(x_MAC: Tensor, block: SwinTransformerBlock, grid: Grid) -> Tensor:
    """Back to ``[B, N, C]``; added places are dropped."""
    size, shift = block.window_size, block.shift_size
    whole = [side + -side % window for side, window in zip(grid, size, strict=True)]
    map_BHWC = window_reverse(x_MAC.unflatten(1, size), size, *whole)[:, : grid[0], : grid[1]]
    return (map_BHWC.roll(shift, (1, 2)) if any(shift) else map_BHWC).flatten(1, 2)


class AllWindows:
    """All windows with all their tokens; keys: which of them attention may look at, or None."""

    window_M: Tensor | None = None

    def __init__(self, block: SwinTransformerBlock, grid: Grid, active_BN: Tensor | None = None) -> None:
        self.block, self.grid, self.keys_MA = block, grid, None
        if active_BN is not None:
            keys_MA = into_windows(active_BN[..., None], block, grid, border=True)[..., 0]
            self.keys_MA = keys_MA | ~keys_MA.any(1, keepdim=True)  # no active token: any finite result will do

    def project(self, y_BNC: Tensor) -> Tensor:
        """Queries, keys and values of every place, ``[M, A, 3C]``."""
        return self.block.attn.qkv(into_windows(y_BNC, self.block, self.grid))

    def back(self, out_MAC: Tensor) -> Tensor:
        """The places of the layout's tokens."""
        return from_windows(out_MAC, self.block, self.grid)


class ActiveWindows:
    """The active tokens alone, in the windows that have any.

    Compiled, and anywhere but on the CPU, every window is kept: an equal number of tokens per image gives static
    shapes, and the host need not wait for the device to know them.
    """

    def __init__(self, block: SwinTransformerBlock, grid: Grid, active_BN: Tensor, flat_F: Tensor) -> None:
        self.attn = block.attn
        count = flat_F.shape[0]
        order_BN = (active_BN.reshape(-1).cumsum(0) - 1).clamp_min(0).view_as(active_BN)
        source_MA = into_windows(order_BN[..., None], block, grid, border=-1)[..., 0]
        self.bordered = any(side % window for side, window in zip(grid, block.window_size, strict=True))
        if self.bordered:  # count itself cannot pad: it would fix the batch size of an exported model
            source_MA = torch.where(source_MA < 0, count, source_MA)
        keys_MA = into_windows(active_BN[..., None], block, grid)[..., 0]
        places_MA1 = torch.arange(source_MA.numel(), device=flat_F.device).view(*source_MA.shape, 1)
        self.place_F = from_windows(places_MA1, block, grid).reshape(-1)[flat_F]
        self.window_M: Tensor | None = None
        if active_BN.device.type == "cpu" and not torch.compiler.is_compiling():
            used_M, area = keys_MA.any(1), keys_MA.shape[1]
            self.window_M = used_M.nonzero()[:, 0]
            source_MA, keys_MA = source_MA[self.window_M], keys_MA[self.window_M]
            self.place_F = (used_M.cumsum(0) - 1)[self.place_F // area] * area + self.place_F % area
        self.source_MA = source_MA
        border_MA = source_MA == count
        keys_MA = keys_MA | border_MA if self.bordered else keys_MA
        # Then windows without a key remain: any finite result will do.
        self.keys_MA = keys_MA if self.window_M is not None else keys_MA | ~keys_MA.any(1, keepdim=True)

    def project(self, y_FC: Tensor) -> Tensor:
        """Queries, keys and values ``[M, A, 3C]``; the place of a paused token holds any other token's."""
        qkv_FE = self.attn.qkv(y_FC)
        if self.bordered:  # the backbone has the projection of zeros there
            zero = qkv_FE.new_zeros(1, qkv_FE.shape[1])
            qkv_FE = torch.cat([qkv_FE, zero if self.attn.qkv.bias is None else zero + self.attn.qkv.bias.to(zero)])
        return qkv_FE.index_select(0, self.source_MA.reshape(-1)).view(*self.source_MA.shape, -1)

    def back(self, out_MAC: Tensor) -> Tensor:
        return out_MAC.flatten(0, 1).index_select(0, self.place_F)


def run_swin_block(
    block: SwinTransformerBlock, u_BNC: Tensor, grid: Grid, layout: GridLayout, active_BN: Tensor | None = None,
    want_attention: bool = False, grid_map: GridMap | None = None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The block's output for the layout's tokens and, if asked, the attention each token got, ``[B, N]``.

    layout: ``Dense``, ``Masked`` or ``Packed`` of the tokens `active_BN`.
    grid_map: map of the MLP's hidden layer on the grid ``[B, N, H]``, paused positions being zero.
    """
    if active_BN is None and not want_attention and grid_map is None:
        return block(u_BNC.unflatten(1, grid)).flatten(1, 2), None
    x = layout.gather(u_BNC)
    if isinstance(layout, Packed):
        windows = ActiveWindows(block, grid, active_BN, layout.flat_F)
    else:
        windows = AllWindows(block, grid, active_BN)
    qkv_MAE = windows.project(block.norm1(x))
    share_MHAA, v_MHAD = shares(block, qkv_MAE, windows.keys_MA, windows.window_M, exact=want_attention)
    drop = block.attn.attn_drop
    mixed_MAC = (F.dropout(share_MHAA.to(v_MHAD.dtype), drop.p, drop.training) @ v_MHAD).transpose(1, 2).flatten(2)
    x = x + block.drop_path1(block.attn.proj_drop(block.attn.proj(windows.back(mixed_MAC))))
    out = x + block.drop_path2(feed_forward(block.mlp, block.norm2(x), layout, u_BNC.shape[1], grid_map))
    if not want_attention:
        return out, None
    got_MA = _attention_per_key(share_MHAA, _query_mask(block, grid, u_BNC, active_BN, windows.window_M))
    return out, layout.to_grid(windows.back(got_MA[..., None]), u_BNC.shape[1])[..., 0]


def shares(
    block: SwinTransformerBlock, qkv_MAE: Tensor, keys_MA: Tensor | None, window_M: Tensor | None, exact: bool = False
) -> tuple[Tensor, Tensor]:
    """Attention after the softmax ``[M, H, A, A]`` (queries, keys), and the values ``[M, H, A, D]``.

    window_M: numbers of the windows, those of an image after those of the image before; None: all.
    exact: at least in float32, for shares that decide which tokens stay.
    """
    attn = block.attn
    q, k, v = qkv_MAE.unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    with autocast_off(q) if exact else nullcontext():
        q, k = (at_least_float32(q), at_least_float32(k)) if exact else (q, k)
        logits_MHAA = (q * attn.scale) @ k.transpose(-2, -1) + _position_bias(attn)
    hide = None
    if block.attn_mask is not None:  # between regions that only the cyclic shift has brought together
        window_M = torch.arange(q.shape[0], device=q.device) if window_M is None else window_M
        hide = block.attn_mask.index_select(0, window_M % len(block.attn_mask))
    if keys_MA is not None:
        hide = logits_MHAA.new_zeros(q.shape[0], 1, q.shape[2]) if hide is None else hide
        hide = hide.masked_fill(~keys_MA[:, None], -torch.inf)
    return (logits_MHAA if hide is None else logits_MHAA + hide[:, None]).softmax(-1), v


def attention_received(block: SwinTransformerBlock, u_BNC: Tensor, grid: Grid) -> Tensor:
    """Attention ``[B, N]`` that each token would get with every token active; all queries and keys are made."""
    windows = AllWindows(block, grid)
    share_MHAA, _ = shares(block, windows.project(block.norm1(u_BNC)), None, None, exact=True)
    return windows.back(_attention_per_key(share_MHAA, _query_mask(block, grid, u_BNC, None, None))[..., None])[..., 0]


def _attention_per_key(share_MHAA: Tensor, queries_MA: Tensor) -> Tensor:
    """Sum over the queries of active tokens, mean over heads: 1 on average in each window, however many it has."""
    return (share_MHAA.mean(1) * queries_MA[..., None]).sum(1)


def _query_mask(
    block: SwinTransformerBlock, grid: Grid, like_BNC: Tensor, active_BN: Tensor | None, window_M: Tensor | None
) -> Tensor:
    if active_BN is None:
        active_BN = torch.ones_like(like_BNC[..., 0], dtype=torch.bool)
    queries_MA = into_windows(active_BN[..., None], block, grid)[..., 0]
    return queries_MA if window_M is None else queries_MA[window_M]


def _position_bias(attn: WindowAttention) -> Tensor:
    """``[H, A, A]``."""
    table = attn.relative_position_bias_table[attn.relative_position_index.view(-1)]
    return table.view(attn.window_area, attn.window_area, -1).permute(2, 0, 1)
