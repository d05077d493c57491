"""timm's pre-LN block, applied to tokens some of which are frozen but still serve as keys and values.

Context of attention, where ``active`` tokens are those still at work:
frozen       every token is a key with its current state. The keys of a token whose state did not change since this
             block last ran are the ones computed then, so with shared weights a cache is exact.
active_only  active tokens see active tokens.
first_kv     keys and values of this block's first run are reused for good ("recursive sharing").
"""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from timm.layers.drop import drop_path
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.token_rows import EvenRows, Level, PackedRows

Rows: TypeAlias = EvenRows | PackedRows


class CachedKVBlock(Block):
    """Parameters and arithmetic of timm's block; queries, keys and values can be computed apart."""

    def project(self, y: Tensor, first: int, last: int) -> Tensor:
        """Thirds first..last-1 of the qkv projection of normalised states ``[..., C]``: 0 q, 1 k, 2 v."""
        C = y.shape[-1]
        qkv = self.attn.qkv
        bias = None if qkv.bias is None else qkv.bias[first * C : last * C]
        return F.linear(y, qkv.weight[first * C : last * C], bias)

    def attend(self, q_BNC: Tensor, kv_BMC: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of queries over keys and values stored side by side ``[B, M, 2C]``; mask bool ``[B, 1, 1, M]``."""
        heads = self.attn.num_heads
        q_BHNE = q_BNC.unflatten(-1, (heads, -1)).transpose(1, 2)
        k_BHME, v_BHME = kv_BMC.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        out_BHNE = F.scaled_dot_product_attention(q_BHNE, k_BHME, v_BHME, attn_mask=mask)
        return out_BHNE.transpose(1, 2).flatten(2)

    def finish(self, x: Tensor, attended: Tensor, drop: float = 0.0) -> Tensor:
        """The rest of the block for the queries' tokens: projection, residual, MLP, residual; ``[..., C]``."""
        x = x + drop_path(self.attn.proj(attended), drop, self.training)
        return x + drop_path(self.mlp(self.norm2(x)), drop, self.training)

    def keys(self, x_BMC: Tensor) -> Tensor:
        """Keys and values of states: ``[B, M, 2C]``."""
        return self.project(self.norm1(x_BMC), 1, 3)

    def forward(
        self, x_BMC: Tensor, mask: Tensor | None = None, drop: float = 0.0, kv_BMC: Tensor | None = None
    ) -> Tensor:
        """Every token through the block, dense; kv_BMC: keys and values to use instead of the states' own."""
        y_BMC = self.norm1(x_BMC)
        if kv_BMC is None:
            q_BMC, kv_BMC = self.attn.qkv(y_BMC).split([y_BMC.shape[-1], 2 * y_BMC.shape[-1]], -1)
        else:
            q_BMC = self.project(y_BMC, 0, 1)
        return self.finish(x_BMC, self.attend(q_BMC, kv_BMC, mask), drop)

    def forward_rows(
        self, x: Tensor, rows: Rows, level: Level, changed: Level, cache: Tensor | None, context: str, drop: float = 0.0
    ) -> tuple[Tensor, Tensor | None]:
        """The active rows through the block: their new states, and the cache for this block's next run.

        changed: rows whose state differs from what ``cache`` was computed from (all rows at the first run).
        """
        if context == "first_kv" and cache is not None:
            q = self.project(self.norm1(rows.take(x, level)), 0, 1)
            kv_BMC = cache
        else:
            source = level if context == "active_only" else changed
            q, kv = self._queries_and_keys(rows.take(x, source), rows, level, source)
            if context == "active_only":
                kv_BMC = rows.spread(kv, level)
            else:
                kv_BMC = cache = rows.store(cache, kv, changed)
        attended_BWC = self.attend(rows.spread(q, level), kv_BMC, level.keys_B11W)
        return self.finish(rows.take(x, level), rows.pack(attended_BWC, level), drop), cache

    def _queries_and_keys(self, x: Tensor, rows: Rows, level: Level, source: Level) -> tuple[Tensor, Tensor]:
        """Queries of the active rows, keys and values of the source rows; one product when they are the same."""
        y = self.norm1(x)
        if source.rows == level.rows:
            return self.attn.qkv(y).split([y.shape[-1], 2 * y.shape[-1]], -1)
        return self.project(rows.take(y, level), 0, 1), self.project(y, 1, 3)


def key_mask(active_BM: Tensor) -> Tensor:
    """bool ``[B, 1, 1, M]`` for attention among active tokens; an image without any sees all (its result is unused)."""
    return (active_BM | ~active_BM.any(1, keepdim=True))[:, None, None]


def where_active(active_BM: Tensor, new_BMC: Tensor, old_BMC: Tensor) -> Tensor:
    """New states of active tokens, the others bit for bit as they were."""
    return torch.where(active_BM[..., None], new_BMC, old_BMC)
