"""Parts of CaiT: heads that talk before and after the softmax, and a class token that comes at the end."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.reduction.block_parts import PreNormParts, Where
from dynvit.reduction.eva_parts import scaled
from dynvit.reduction.signals import Signals


class CaitParts(PreNormParts):
    """`LayerScaleBlock`."""

    plain_softmax = False

    def whole(self, block: Any, x_BND: Tensor, bias: Tensor | None, where: Where) -> Tensor:
        if bias is None:
            return block(x_BND)  # type: ignore[no-any-return]
        return self.add_mlp(block, self.attention(block, x_BND, bias, where)[0])

    def attention(self, block: Any, x_BND: Tensor, bias: Tensor | None, where: Where) -> tuple[Tensor, Signals]:
        attn = block.attn
        q, k, v = attn.qkv(block.norm1(x_BND)).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        logits = talk(attn.proj_l, q * attn.scale @ k.transpose(-2, -1))
        map_BHNN = (logits if bias is None else logits + bias).softmax(-1)
        mixed = attn.attn_drop(told(attn.proj_w, map_BHNN, bias)) @ v
        y_BND = attn.proj_drop(attn.proj(mixed.transpose(1, 2).flatten(2)))
        return self.add_attention(block, x_BND, y_BND), Signals(q, k, v, bias, map_BHNN)

    def add_attention(self, block: Any, x_BND: Tensor, y_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path(scaled(y_BND, block.gamma_1))  # type: ignore[no-any-return]

    def add_mlp(self, block: Any, x_BND: Tensor) -> Tensor:
        return x_BND + block.drop_path(scaled(block.mlp(block.norm2(x_BND)), block.gamma_2))  # type: ignore[no-any-return]


def talk(heads: Any, map_BHNN: Tensor) -> Tensor:
    """Each head a mixture of all."""
    return heads(map_BHNN.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def told(heads: Any, map_BHNN: Tensor, bias: Tensor | None) -> Tensor:
    """The same after the softmax. What the layer adds to each key counts as often as the key does."""
    if bias is None or heads.bias is None:
        return talk(heads, map_BHNN)
    mixed = F.linear(map_BHNN.permute(0, 2, 3, 1), heads.weight).permute(0, 3, 1, 2)
    return mixed + heads.bias[:, None, None] * bias.exp()


def attend_classes(model: Any, x_BND: Tensor, bias: Tensor | None) -> Tensor:
    """`Cait.forward_cls` with a bias for each patch token: the class token, then the patches."""
    if bias is None:
        return model.forward_cls(x_BND)  # type: ignore[no-any-return]
    bias = F.pad(bias, (1, 0))
    class_B1D = model.cls_token.expand(x_BND.shape[0], -1, -1)
    for block in model.blocks_token_only:
        attn, all_BND = block.attn, block.norm1(torch.cat([class_B1D, x_BND], 1))
        q, k, v = (
            layer(y).unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
            for layer, y in ((attn.q, all_BND[:, :1]), (attn.k, all_BND), (attn.v, all_BND))
        )
        dropout = attn.attn_drop.p if attn.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        y_B1D = attn.proj_drop(attn.proj(mixed.transpose(1, 2).flatten(2)))
        class_B1D = class_B1D + block.drop_path(block.gamma_1 * y_B1D)
        class_B1D = class_B1D + block.drop_path(block.gamma_2 * block.mlp(block.norm2(class_B1D)))
    return torch.cat([class_B1D, x_BND], 1)
