"""Parts of the blocks of EVA, EVA-02, DINOv3 (rotary positions) and BEiT (a bias for each pair of positions).

Tokens that are left keep the position that they had; a merged one has its receiver's.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import apply_rot_embed_cat
from torch import Tensor

from dynvit.reduction.block_parts import PreNormParts, Where, heads, projected


class EvaParts(PreNormParts):
    """`EvaBlock`: LayerScale as a parameter, projections fused or not, keys without bias, rotary positions."""

    def whole(self, block: Any, x_BND: Tensor, bias: Tensor | None, where: Where) -> Tensor:
        return block(x_BND, rope=rotation(where), attn_mask=bias)  # type: ignore[no-any-return]

    def qkv(self, block: Any, normed_BND: Tensor, where: Where) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = heads(block.attn, projected(block.attn, normed_BND, 0, 3))
        return *self.tuned(block.attn, q, k, where), v

    def tuned(self, attn: Any, q_BHNC: Tensor, k_BHNC: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        """Turned by their positions; prefix tokens have none."""
        q, k = attn.q_norm(q_BHNC), attn.k_norm(k_BHNC)
        rope, P = rotation(where), attn.num_prefix_tokens
        if rope is None:
            return q, k
        turned = (apply_rot_embed_cat(y[:, :, P:], rope, half=attn.rotate_half) for y in (q, k))
        q, k = (torch.cat([y[:, :, :P], z], 2).type_as(q_BHNC) for y, z in zip((q, k), turned, strict=True))
        return q, k

    def add_attention(self, block: Any, x_BND: Tensor, y_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path1(scaled(y_BND, block.gamma_1))  # type: ignore[no-any-return]

    def add_mlp(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path2(scaled(block.mlp(block.norm2(x_BND)), block.gamma_2))  # type: ignore[no-any-return]


class EvaPostNormParts(EvaParts):
    """`EvaBlockPostNorm`: the norms come last."""

    def normed(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND

    def add_attention(self, block: Any, x_BND: Tensor, y_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path1(block.norm1(y_BND))  # type: ignore[no-any-return]

    def add_mlp(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path2(block.norm2(block.mlp(x_BND)))  # type: ignore[no-any-return]


class BeitParts(EvaParts):
    """BEiT's `Block`: a bias for each pair of positions, of the block or of all blocks."""

    def whole(self, block: Any, x_BND: Tensor, bias: Tensor | None, where: Where) -> Tensor:
        if where.home_BN is None and bias is None:
            return block(x_BND, shared_rel_pos_bias=where.positional)  # type: ignore[no-any-return]
        return self.add_mlp(block, self.attention(block, x_BND, bias, where)[0])

    def tuned(self, attn: Any, q_BHNC: Tensor, k_BHNC: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        return q_BHNC, k_BHNC

    def bias(self, block: Any, bias: Tensor | None, where: Where) -> Tensor | None:
        attn = block.attn
        of_pairs = where.positional
        if attn.relative_position_bias_table is not None:
            own = attn._get_rel_pos_bias()
            of_pairs = own if of_pairs is None else own + of_pairs
        if of_pairs is None:
            return bias
        of_pairs = of_pairs.reshape(-1, *of_pairs.shape[-2:])
        if where.home_BN is None:
            of_pairs = of_pairs.unsqueeze(0)
        else:
            home_BN = where.home_BN
            of_pairs = of_pairs[:, home_BN.unsqueeze(2), home_BN.unsqueeze(1)].transpose(0, 1)
        return of_pairs if bias is None else of_pairs + bias

    def project(self, block: Any, mixed_BNC: Tensor, normed_BND: Tensor) -> Tensor:
        return block.attn.proj_drop(block.attn.proj(mixed_BNC))  # type: ignore[no-any-return]


def rotation(where: Where) -> Tensor | None:
    """The rows ``[N, C]``, ``[H, N, C]`` or ``[B, 1 or H, N, C]`` of the patches that are there."""
    rope, home_BN = where.positional, where.home_BN
    if rope is None or home_BN is None:
        return rope
    patch_BN = home_BN[:, where.prefix :] - where.prefix
    if rope.ndim == 4:
        return rope.gather(2, patch_BN[:, None, :, None].expand(-1, rope.shape[1], -1, rope.shape[3]))
    return rope[patch_BN].unsqueeze(1) if rope.ndim == 2 else rope[:, patch_BN].transpose(0, 1)


def scaled(y_BND: Tensor, gamma_D: Tensor | None) -> Tensor:
    return y_BND if gamma_D is None else gamma_D * y_BND
