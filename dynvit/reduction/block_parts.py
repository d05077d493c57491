"""The parts of a timm block that reduction needs one by one: attention with its queries and keys, then the MLP.

They work on timm's own modules, so that whatever these contain is in effect: layer scale, norms of queries and keys,
gates, drop path.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynvit.layers.attention import project_output, split_qkv
from dynvit.reduction.signals import Signals


class Where(NamedTuple):
    """What attention knows of positions. positional: rotary embeddings of this block, by position of the patch, or a
    bias by pairs of positions; home_BN: input position of each token (None: each its own), `prefix` of which are in
    front of the patches."""

    positional: Tensor | None = None
    home_BN: Tensor | None = None
    prefix: int = 0


class PreNormParts:
    """timm's `Block`: x + attn(norm1(x)), then x + mlp(norm2(x))."""

    plain_softmax: bool = True
    """Whether the output is a softmax times the values, so that a method can compute it itself."""

    def whole(self, block: Any, x_BND: Tensor, bias: Tensor | None, where: Where) -> Tensor:
        """The block as it is."""
        return block(x_BND, attn_mask=bias)  # type: ignore[no-any-return]

    def normed(self, block: Any, x_BND: Tensor) -> Tensor:
        """What the attention sees of the tokens."""
        return block.norm1(x_BND)  # type: ignore[no-any-return]

    def qkv(self, block: Any, normed_BND: Tensor, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values ``[B, H, N, C]``."""
        return split_qkv(block.attn, block.attn.qkv(normed_BND))

    def queries_keys(self, block: Any, normed_BND: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        """Queries and keys without the cost of values."""
        q, k = heads(block.attn, projected(block.attn, normed_BND, 0, 2))
        return self.tuned(block.attn, q, k, where)

    def values(self, block: Any, normed_BND: Tensor) -> Tensor:
        """Values, heads side by side: ``[B, N, H C]``."""
        return projected(block.attn, normed_BND, 2, 3)[0]

    def tuned(self, attn: Any, q_BHNC: Tensor, k_BHNC: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        """Queries and keys as they meet."""
        return attn.q_norm(q_BHNC), attn.k_norm(k_BHNC)

    def bias(self, block: Any, bias: Tensor | None, where: Where) -> Tensor | None:
        """All that is added to the logits: `bias` and what the block itself adds."""
        return bias

    def project(self, block: Any, mixed_BNC: Tensor, normed_BND: Tensor) -> Tensor:
        """The output of the attention layer from the mixed values, heads side by side."""
        return project_output(block.attn, mixed_BNC, normed_BND)

    def add_attention(self, block: Any, x_BND: Tensor, y_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path1(block.ls1(y_BND))  # type: ignore[no-any-return]

    def add_mlp(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path2(block.ls2(block.mlp(block.norm2(x_BND))))  # type: ignore[no-any-return]

    def attention(self, block: Any, x_BND: Tensor, bias: Tensor | None, where: Where) -> tuple[Tensor, Signals]:
        """The tokens after the attention, and its signals."""
        normed_BND = self.normed(block, x_BND)
        q, k, v = self.qkv(block, normed_BND, where)
        bias = self.bias(block, bias, where)
        return self.attend(block, x_BND, normed_BND, Signals(q, k, v, bias)), Signals(q, k, v, bias)

    def attend(self, block: Any, x_BND: Tensor, normed_BND: Tensor, signals: Signals) -> Tensor:
        """The tokens after the attention; there may be fewer of them, and of queries, than of keys."""
        dropout = block.attn.attn_drop.p if block.attn.training else 0.0
        q, k, v, bias, _ = signals
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return self.add_attention(block, x_BND, self.project(block, mixed.transpose(1, 2).flatten(2), normed_BND))


class PostNormParts(PreNormParts):
    """timm's `ResPostBlock`: the norms come last."""

    def normed(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND

    def add_attention(self, block: Any, x_BND: Tensor, y_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path1(block.norm1(y_BND))  # type: ignore[no-any-return]

    def add_mlp(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path2(block.norm2(block.mlp(x_BND)))  # type: ignore[no-any-return]


def projected(attn: Any, x_BND: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
    """From queries (0), keys (1) and values (2) those of ``first <= i < last``: ``[B, N, H C]`` each; where heads share
    keys and values, repeated for each."""
    if attn.qkv is None:
        layers = (attn.q_proj, attn.k_proj, attn.v_proj)
        return tuple(_for_all_heads(attn, layer(x_BND)) for layer in layers[first:last])
    if type(attn.qkv) is not nn.Linear and getattr(attn, "q_bias", None) is None:  # its weight may not be all of it
        return attn.qkv(x_BND).chunk(3, -1)[first:last]  # type: ignore[no-any-return]
    width = attn.qkv.weight.shape[0] // 3
    bias = (
        attn.qkv.bias if getattr(attn, "q_bias", None) is None else torch.cat((attn.q_bias, attn.k_bias, attn.v_bias))
    )
    bias = None if bias is None else bias[first * width : last * width]
    return F.linear(x_BND, attn.qkv.weight[first * width : last * width], bias).chunk(last - first, -1)


def _for_all_heads(attn: Any, y_BNE: Tensor) -> Tensor:
    groups = attn.proj.weight.shape[1] // y_BNE.shape[-1]
    if groups == 1:
        return y_BNE
    return y_BNE.unflatten(-1, (attn.num_heads // groups, -1)).repeat_interleave(groups, 2).flatten(2)


def heads(attn: Any, each_BNE: tuple[Tensor, ...]) -> list[Tensor]:
    """Heads apart: ``[B, H, N, C]``."""
    return [y_BNE.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for y_BNE in each_BNE]
