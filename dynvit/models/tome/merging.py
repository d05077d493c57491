"""MergingMixin: the forward pass of a timm VisionTransformer in which every block merges similar tokens (ToMe).

Works block by block on timm's own modules, so that whatever they contain is in effect: layer scale, norms of queries
and keys, gates, drop path. A block that merges nothing runs as it is.
"""

from __future__ import annotations

import torch
from timm.layers import Attention, AttentionPoolLatent
from timm.models import checkpoint
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import Tensor, nn

from dynvit.interface import DynamicModel
from dynvit.layers.attention import attend
from dynvit.layers.intermediates import TokenIntermediates, check_no_mask
from dynvit.models.tome.matching import Pairs, match, merge, mergeable
from dynvit.models.tome.source_map import SourceMap

Merged = tuple[Tensor, Tensor | None, Pairs | None]


class MergingMixin(TokenIntermediates, DynamicModel, VisionTransformer):
    """Before a VisionTransformer class in the order of inheritance; `prepare` says how many tokens to merge."""

    static_cost = True

    def prepare(self, schedule: tuple[int, ...], proportional: bool) -> None:
        """schedule: tokens to merge per block. proportional: attention counts a token as often as its size."""
        self.schedule, self.proportional = schedule, proportional
        self.trace, self.execution = None, "gathered"
        self.sources: SourceMap | None = None
        """Of the last forward pass under `trace_tokens`: which token each patch went to, and sizes."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x_BND, size_BN = self._merge_through(x, attn_mask, is_causal)
        return self.forward_head(self.norm(x_BND), size_BN=size_BN)

    def forward_features(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Normalized tokens: prefix tokens first, then the merged ones, in no raster order."""
        return self.norm(self._merge_through(x, attn_mask, is_causal)[0])

    def forward_head(self, x: Tensor, pre_logits: bool = False, size_BN: Tensor | None = None) -> Tensor:
        """With sizes, pooling over tokens becomes pooling over the patches that they represent."""
        if size_BN is None or self.global_pool in ("token", "max", ""):
            return super().forward_head(x, pre_logits)
        y = self.head_drop(self.fc_norm(self._pool(x, size_BN)))
        return y if pre_logits else self.head(y)

    def _pool(self, x_BND: Tensor, size_BN: Tensor) -> Tensor:
        first = 0 if self.pool_include_prefix else self.num_prefix_tokens
        if isinstance(self.attn_pool, AttentionPoolLatent):
            bias = _bias(size_BN, x_BND)[..., first:] if self.proportional else None
            return self.attn_pool(x_BND[:, first:], attn_mask=bias)
        if self.attn_pool is not None:
            return self.pool(x_BND)
        x_BND, size_BN = x_BND[:, first:], size_BN[:, first:]
        weight_BN1 = (size_BN / size_BN.sum(1, keepdim=True)).to(x_BND.dtype).unsqueeze(-1)
        mean_BD = (x_BND * weight_BN1).sum(1)
        return mean_BD if self.global_pool == "avg" else 0.5 * (x_BND.amax(1) + mean_BD)

    # ---- blocks

    def _merge_through(
        self, x: Tensor, attn_mask: Tensor | None, is_causal: bool, states: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens before the final norm, and their sizes (None if nothing was merged); states as in `EViT`."""
        check_no_mask(self, attn_mask, is_causal)
        x_BND = self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(x))))
        sources = SourceMap(x_BND, self.num_prefix_tokens) if self.trace is not None or states is not None else None
        position_N, row_B1 = (torch.arange(n, device=x_BND.device) for n in (x_BND.shape[1], x_BND.shape[0]))
        places, size_BN = (position_N, row_B1.unsqueeze(-1)), None
        for block, r in zip(self.blocks, self.schedule, strict=False):
            if self.trace is not None:
                self.trace.record(sources.present())
            r = mergeable(x_BND.shape[1], self.num_prefix_tokens, r)
            x_BND, size_BN, pairs = self._run(block, x_BND, size_BN, r, places)
            if sources is not None:
                sources.merged(pairs, size_BN)
            if states is not None:
                states.append(sources.spread(x_BND))
        if self.trace is not None:
            self.sources = sources
        return x_BND, size_BN

    def _run(
        self, block: nn.Module, x_BND: Tensor, size_BN: Tensor | None, r: int, places: tuple[Tensor, Tensor]
    ) -> Merged:
        if self.grad_checkpointing and self.training:
            return checkpoint(self._block, block, x_BND, size_BN, r, places)  # type: ignore[no-any-return]
        return self._block(block, x_BND, size_BN, r, places)

    def _block(
        self, block: nn.Module, x_BND: Tensor, size_BN: Tensor | None, r: int, places: tuple[Tensor, Tensor]
    ) -> Merged:
        bias_B11N = _bias(size_BN, x_BND) if self.proportional and size_BN is not None else None
        if not r:
            return block(x_BND, attn_mask=bias_B11N), size_BN, None
        position_N, row_B1 = places
        post = isinstance(block, ResPostBlock)
        y_BND, _, k_BHND = attend(block.attn, x_BND if post else block.norm1(x_BND), mask_B11N=bias_B11N)
        x_BND = x_BND + block.drop_path1(block.norm1(y_BND) if post else block.ls1(y_BND))
        pairs = match(k_BHND, r, self.num_prefix_tokens, position_N)
        x_BND, size_BN = merge(x_BND, size_BN, pairs, row_B1)
        y_BND = block.norm2(block.mlp(x_BND)) if post else block.ls2(block.mlp(block.norm2(x_BND)))
        return x_BND + block.drop_path2(y_BND), size_BN, pairs

    def _features(self, images: Tensor, states: list[Tensor]) -> Tensor:
        return self.norm(self._merge_through(images, None, False, states)[0])


def check_blocks(model: VisionTransformer) -> None:
    """ValueError unless every block is attention followed by an MLP, with keys to compare."""
    for i, block in enumerate(model.blocks):
        if not isinstance(block, Block | ResPostBlock) or not isinstance(block.attn, Attention):
            attn = getattr(block, "attn", None)
            made_of = type(block).__name__ + (f" with {type(attn).__name__}" if attn is not None else "")
            raise ValueError(f"block {i} is a {made_of}; tokens merge between the attention and the MLP of a Block")


def _bias(size_BN: Tensor, x_BND: Tensor) -> Tensor:
    """log(size) for the attention to each key: float and key only, so that attention stays fused. ``[B, 1, 1, N]``"""
    return size_BN.log().to(x_BND.dtype).unsqueeze(1).unsqueeze(1)
