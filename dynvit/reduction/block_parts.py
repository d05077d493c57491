"""The parts of a timm block that reduction needs one by one: attention with its queries and keys, then the MLP.

They work on timm's own modules, so that whatever these contain is in effect: layer scale, norms of queries and keys,
gates, drop path.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block, ResPostBlock
from torch import Tensor, nn

from dynvit.layers.attention import project_output, split_qkv
from dynvit.reduction.signals import Signals


class Where(NamedTuple):
    """What attention knows of positions. home_BN: input position of each token (None: each its own); rope: rotary
    embeddings of this block, by position; bias: of all blocks, by pairs of positions."""

    home_BN: Tensor | None = None
    rope: Tensor | None = None
    bias: Tensor | None = None


class PreNormParts:
    """timm's `Block`: x + attn(norm1(x)), then x + mlp(norm2(x))."""

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
        attn = block.attn
        width = 2 * attn.num_heads * attn.head_dim
        bias = attn.qkv.bias if attn.qkv.bias is None else attn.qkv.bias[:width]
        qk = F.linear(normed_BND, attn.qkv.weight[:width], bias)
        q, k = qk.unflatten(-1, (2, attn.num_heads, attn.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
        return attn.q_norm(q), attn.k_norm(k)

    def values(self, block: Any, normed_BND: Tensor) -> Tensor:
        """Values, heads side by side: ``[B, N, H C]``."""
        attn = block.attn
        first = 2 * attn.num_heads * attn.head_dim
        return F.linear(normed_BND, attn.qkv.weight[first:], None if attn.qkv.bias is None else attn.qkv.bias[first:])

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
        q, k, v, bias = signals
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


PARTS: dict[type, tuple[type, PreNormParts]] = {
    Block: (Attention, PreNormParts()),
    ResPostBlock: (Attention, PostNormParts()),
}
"""By class of the block: the attention it must have, and its parts."""


def parts_of(block: nn.Module) -> PreNormParts | None:
    """None for a block of another kind."""
    for kind, (attention, parts) in PARTS.items():
        if isinstance(block, kind) and isinstance(getattr(block, "attn", None), attention):
            return parts
    return None


def check_blocks(model: Any) -> None:
    """ValueError unless every block is attention followed by an MLP, with keys to compare."""
    for i, block in enumerate(model.blocks):
        if parts_of(block) is None:
            attn = getattr(block, "attn", None)
            made_of = type(block).__name__ + (f" with {type(attn).__name__}" if attn is not None else "")
            raise ValueError(f"block {i} is a {made_of}; tokens are reduced around the attention of a Block")
