"""Evo-ViT on DeiT: slow-fast token evolution (arXiv 2108.01390, AAAI 2022).

Patch tokens are ranked by a running class attention. The top K go through the blocks; the others are kept aside and may
come back at the next ranking. The prediction averages ALL patch tokens; the class token only ranks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from timm.layers import trunc_normal_
from timm.models import named_apply
from timm.models.vision_transformer import init_weights_vit_timm
from torch import Tensor

from dynvit.layers.classifiers import check_pool, reset_heads
from dynvit.layers.deit import DEIT_III, DeiT
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.models.evo_vit.loss import two_heads
from dynvit.models.evo_vit.schedule import schedule
from dynvit.models.evo_vit.scoring_block import ScoringBlock
from dynvit.models.evo_vit.slow_fast_deit import SlowFastDeit
from dynvit.output import Output
from dynvit.registry import register

VARIANTS = {
    "evo_deit_tiny_patch16_224": {"embed_dim": 192, "num_heads": 3},
    "evo_deit_small_patch16_224": {"embed_dim": 384, "num_heads": 6},
    "evo_deit_base_patch16_224": {"embed_dim": 768, "num_heads": 12},
    "evo_deit_small_patch16_384": {"embed_dim": 384, "num_heads": 6, "img_size": 384},
    "evo_deit_base_patch16_384": {"embed_dim": 768, "num_heads": 12, "img_size": 384},
}


class EvoDeiT(TokenIntermediates, SlowFastDeit, DeiT):
    """Evo-ViT on DeiT.

    keep_ratio: share of patch tokens processed from block `prune_from` on, a number or one per block.
    prune_from: first block that leaves tokens out, counted from 0.
    selection: "stage" ranks every four blocks (deployment), "layer" before every block (first training phase).
    score_weight: weight of a block's class row in the running score from `prune_from` on (1 before), or one per block.
    representative: "none" as in the official DeiT code; "weighted" or "mean" update the kept-aside tokens by the
        residuals of one token that represents them, as Evo-LeViT does.
    drop_at_end: average the processed tokens only.
    switch_epoch: epochs of training with layer-wise selection before stage-wise (the paper: 200 of 300); evaluation
        follows the switch. 0: `selection` throughout.
    ranking: "random" is a control at equal cost: random tokens are processed instead of those of the highest score, new
        ones at every ranking of every image in training, the same for all images in evaluation.
    """

    block_fn = ScoringBlock
    withheld_options = (*DEIT_III, "drop_rate")
    training_only = ("norm_cls", "head_cls")
    classifier_names = ("head", "head_cls")

    def __init__(
        self,
        keep_ratio: float | Sequence[float] = 0.5,
        prune_from: int = 4,
        selection: Literal["stage", "layer"] = "stage",
        score_weight: float | Sequence[float] = 0.5,
        representative: Literal["none", "weighted", "mean"] = "none",
        drop_at_end: bool = False,
        switch_epoch: int = 0,
        ranking: Literal["class", "random"] = "class",
        **backbone: Any,
    ) -> None:
        super().__init__(representative=representative, ranking=ranking, **backbone)
        self.drop_at_end, self.prune_from, self.switch_epoch = drop_at_end, prune_from, switch_epoch
        self.depth, self.global_pool = len(self.blocks), "avg"
        self._plan = partial(schedule, keep_ratio=keep_ratio, prune_from=prune_from, score_weight=score_weight)
        self.set_selection(selection)
        self.draw(self.depth, self.patch_embed.num_patches)

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Add the class head and draw all weights; timm's constructor calls this at its end.

        The order of drawing, heads twice, is fixed, so that a seed gives the same weights in every version.
        """
        init_weights_vit_timm(self.head, needs_reset=needs_reset)
        self.norm_cls = copy.deepcopy(self.norm)
        reset_heads(self, ("head_cls",))
        named_apply(partial(init_weights_vit_timm, needs_reset=needs_reset), self)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)

    def set_selection(self, selection: Literal["stage", "layer"]) -> None:
        """Rank once per stage of four blocks, or before every block; training switches from layer to stage."""
        self.plan = self._plan(self.depth, self.patch_embed.num_patches, selection=selection)
        self.selection = selection

    # ---- forward

    def _features(self, x: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Images ``[B, C, H, W]`` to ``[B, 1 + N, D]``, class token first, patches in raster order, not normalized.

        With `drop_at_end`, the K tokens of the last group only.
        """
        # The embedded tokens have no name here, which would hold them while the blocks run.
        first = min(self.prune_from, len(self.blocks))
        x_BND, g_BN = self._all(self._pos_embed(self.patch_embed(x)), None, 0, first, states)
        for start, end, kept in self.plan.groups:
            if start >= len(self.blocks):
                break
            last, end = end == self.depth, min(end, len(self.blocks))
            if kept == self.patch_embed.num_patches or g_BN is None:
                x_BND, g_BN = self._all(x_BND, g_BN, start, end, states)
            else:
                drop = last and self.drop_at_end
                x_BND, g_BN = self._some(x_BND, g_BN, start, end, kept, drop, states)
        return x_BND

    def forward_head(self, x_BND: Tensor, pre_logits: bool = False) -> Tensor:
        x_BD = self.head_drop(self.norm(self.pool(x_BND)))
        return x_BD if pre_logits else self.head(x_BD)

    def forward(self, x: Tensor) -> Tensor | Output:
        x_BND = self.forward_features(x)
        logits_BK = self.forward_head(x_BND)
        if not self.training:
            return logits_BK
        class_BK = self.head_cls(self.head_drop(self.norm_cls(x_BND[:, 0])))
        return Output(logits_BK, extra={"class": class_BK}, task_loss=two_heads, uses_teacher=False)

    # ---- timm's conventions

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        check_pool(self, global_pool, "avg")
        super().reset_classifier(num_classes, global_pool)
        reset_heads(self, self.classifier_names)

    def set_input_size(self, *args: Any, **options: Any) -> None:
        super().set_input_size(*args, **options)
        self.set_selection(self.selection)
        self.draw(self.depth, self.patch_embed.num_patches)

    # ---- checkpoints

    def convert_official(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Official names: `qks.i.qk` and `vs.i.v` are our `attn.qkv`; `norms`, `projs` move into the blocks."""
        out = {}
        for name, tensor in state_dict.items():
            parts = name.split(".")
            if parts[0] == "qks":
                value = state_dict.get(f"vs.{parts[1]}.v.{parts[3]}")
                if value is not None:
                    out[f"blocks.{parts[1]}.attn.qkv.{parts[3]}"] = torch.cat([tensor, value])
            elif parts[0] == "norms":
                out[f"blocks.{parts[1]}.norm1.{parts[2]}"] = tensor
            elif parts[0] == "projs":
                out[f"blocks.{parts[1]}.attn.proj.{parts[2]}"] = tensor
            elif parts[0] != "vs":
                out[name] = tensor
        return out


register(EvoDeiT, VARIANTS)
