"""Self-attention that can also say how much the class token looks at each token.

The values go through fused attention, so no attention matrix is stored; the class token's row is one small product
of its own, made only in the layers whose score somebody reads.
"""

from __future__ import annotations

import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from dynvit.layers.mac_counting import exclude_from_macs


class ClassRowAttention(nn.Module):
    """Multi-head attention over ``[class, tokens]``; parameter names as timm's ``Attention``."""

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"embed_dim {dim} is not a multiple of num_heads {num_heads}")
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, x_BND: Tensor, score: bool = False, mask_B11N: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the output ``[B, N, D]`` and, if asked, the class row summed over heads ``[B, N-1]``.

        mask_B11N: float, added to the logits of each key (``-inf`` hides a token), or None.
        """
        B, N, D = x_BND.shape
        q, k, v = self.qkv(x_BND).view(B, N, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_B11N, scale=self.scale)
        out_BND = self.proj(y.transpose(1, 2).reshape(B, N, D))
        if not score:
            return out_BND, None
        with exclude_from_macs():  # the published cost counts this row once, as part of the attention product
            row_BH1N = (q[:, :, :1] * self.scale) @ k.transpose(-2, -1)
        if mask_B11N is not None:
            row_BH1N = row_BH1N + mask_B11N
        return out_BND, row_BH1N.softmax(-1).sum(1)[:, 0, 1:]


class ClassRowBlock(nn.Module):
    """Pre-norm transformer block whose attention can report the class row; parameter names as timm's ``Block``."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = ClassRowAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(
        self, x_BND: Tensor, score: bool = False, mask_B11N: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As the attention's forward, with both residual branches."""
        y_BND, row_BN = self.attn(self.norm1(x_BND), score, mask_B11N)
        x_BND = x_BND + self.drop_path(y_BND)
        del y_BND  # not held while the feed-forward, the peak of memory, runs
        return x_BND + self.drop_path(self.mlp(self.norm2(x_BND))), row_BN
