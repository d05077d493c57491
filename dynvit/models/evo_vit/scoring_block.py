"""timm's transformer block that also returns the class token's attention, Evo-ViT's score of a token."""

from __future__ import annotations

from timm.models.vision_transformer import Block
from torch import Tensor

from dynvit.layers.attention import attend, cls_attention


class ScoringBlock(Block):
    """Parameter names as timm's ``Block``. No attention matrix is stored: the score is a small product of its own."""

    def forward(
        self, x_BND: Tensor, score: bool = False, mask_B11N: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return tokens ``[B, N, D]`` and, with `score`, the class attention ``[B, N-1]``, summed over heads.

        mask_B11N: float, added to the logits of each key (``-inf`` hides a token), or None.
        """
        y_BND, q_BHND, k_BHND = attend(self.attn, self.norm1(x_BND), mask_B11N=mask_B11N)
        x_BND = x_BND + self.drop_path1(self.ls1(y_BND))
        row_BN = cls_attention(q_BHND, k_BHND, mask_B11N).sum(1)[:, 1:] if score else None
        del y_BND, q_BHND, k_BHND  # not held while the feed-forward, the peak of memory, runs
        return x_BND + self.drop_path2(self.ls2(self.mlp(self.norm2(x_BND)))), row_BN
