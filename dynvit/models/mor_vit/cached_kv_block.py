"""timm's pre-norm block, applied to tokens some of which are frozen but still serve as keys and values.

Context of attention:
frozen       every token is a key with its current state. The keys of a token whose state did not change since this
             block last ran are the ones computed then, so with shared weights a cache is exact.
active_only  active tokens see active tokens.
first_kv     keys and values of this block's first run are reused in all later runs ("recursive sharing").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.drop import drop_path
from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.attention import key_mask
from dynvit.models.mor_vit.token_order import Prefix


class CachedKVBlock(Block):
    """Parameters and arithmetic of timm's block; queries, keys and values can be computed separately."""

    def project(self, y: Tensor, first: int, last: int) -> Tensor:
        """Thirds first..last-1 of the qkv projection of normalized states ``[..., C]``: 0 q, 1 k, 2 v."""
        C = y.shape[-1]
        qkv = self.attn.qkv
        bias = None if qkv.bias is None else qkv.bias[first * C : last * C]
        return F.linear(y, qkv.weight[first * C : last * C], bias)

    def attend(self, q_BNC: Tensor, kv_BMC: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of queries over keys and values stored side by side ``[B, M, 2C]``; mask bool ``[B, 1, 1, M]``."""
        heads = self.attn.num_heads
        q_BHNE = q_BNC.unflatten(-1, (heads, -1)).transpose(1, 2)
        k_BHME, v_BHME = kv_BMC.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q_BHNE, k_BHME = self.attn.q_norm(q_BHNE), self.attn.k_norm(k_BHME)
        out_BHNE = F.scaled_dot_product_attention(q_BHNE, k_BHME, v_BHME, attn_mask=mask)
        return out_BHNE.transpose(1, 2).flatten(2)

    def finish(self, x: Tensor, attended: Tensor, drop: float = 0.0) -> Tensor:
        """Return the block's output for the queries' tokens: projection, residual, MLP, residual; ``[..., C]``."""
        x = x + drop_path(self.ls1(self.attn.proj(attended)), drop, self.training)
        return x + drop_path(self.ls2(self.mlp(self.norm2(x))), drop, self.training)

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

    def forward_active(
        self, x: Tensor, active: Prefix, changed: Prefix, cache: Tensor | None, context: str, drop: float = 0.0
    ) -> tuple[Tensor, Tensor | None]:
        """Return the new states of the active tokens, and the cache for this block's next run.

        x: sorted states. changed: tokens whose state differs from what ``cache`` was computed from (all at first).
        """
        if context == "first_kv" and cache is not None:
            q = self.project(self.norm1(active.gather(x)), 0, 1)
            kv_BMC = cache
        else:
            source = active if context == "active_only" else changed
            q, kv = self._queries_and_keys(source.gather(x), active, source)
            if context == "active_only":
                kv_BMC = active.pad(kv)
            else:
                kv_BMC = cache = changed.update_cache(cache, kv)
        attended_BWC = self.attend(active.pad(q), kv_BMC, key_mask(active))
        return self.finish(active.gather(x), active.pack(attended_BWC), drop), cache

    def _queries_and_keys(self, x: Tensor, active: Prefix, source: Prefix) -> tuple[Tensor, Tensor]:
        """Return queries of the active tokens, keys and values of the source tokens; one product if they are equal."""
        y = self.norm1(x)
        if source.active == active.active:
            return self.attn.qkv(y).split([y.shape[-1], 2 * y.shape[-1]], -1)
        return self.project(active.gather(y), 0, 1), self.project(y, 1, 3)


def active_keys(active_BM: Tensor) -> Tensor:
    """Return ``bool[B, 1, 1, M]`` for attention among active tokens; all where an image has none, its result unused."""
    return (active_BM | ~active_BM.any(1, keepdim=True))[:, None, None]


def where_active(active_BM: Tensor, new_BMC: Tensor, old_BMC: Tensor) -> Tensor:
    """Return the new states of active tokens, and the old states of the others bit for bit."""
    return torch.where(active_BM[..., None], new_BMC, old_BMC)
