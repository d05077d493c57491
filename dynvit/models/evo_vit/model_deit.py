"""Evo-ViT on DeiT: slow-fast token evolution (arXiv 2108.01390, AAAI 2022).

Patch tokens are ranked by a running class attention. The top K go through the blocks; the others are kept aside and may
come back at the next ranking. The prediction averages ALL patch tokens; the class token only ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from timm.layers import PatchEmbed, calculate_drop_path_rates, trunc_normal_
from torch import Tensor, nn

from dynvit.layers.no_dropout import remove_idle_dropout
from dynvit.layers.option_checks import check_heads
from dynvit.models.evo_vit.schedule import schedule
from dynvit.models.evo_vit.scoring_block import ScoringBlock
from dynvit.models.evo_vit.slow_fast_deit import SlowFastDeit
from dynvit.output import Output, cross_entropy
from dynvit.registry import register

VARIANTS = {
    "evo_deit_tiny_patch16_224": {"embed_dim": 192, "num_heads": 3},
    "evo_deit_small_patch16_224": {"embed_dim": 384, "num_heads": 6},
    "evo_deit_base_patch16_224": {"embed_dim": 768, "num_heads": 12},
    "evo_deit_small_patch16_384": {"embed_dim": 384, "num_heads": 6, "img_size": 384},
    "evo_deit_base_patch16_384": {"embed_dim": 768, "num_heads": 12, "img_size": 384},
}


class EvoDeiT(SlowFastDeit):
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
    """

    training_only = ("norm_cls", "head_cls")
    classifier_names = ("head", "head_cls")

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        keep_ratio: float | Sequence[float] = 0.5,
        prune_from: int = 4,
        selection: Literal["stage", "layer"] = "stage",
        score_weight: float | Sequence[float] = 0.5,
        representative: Literal["none", "weighted", "mean"] = "none",
        drop_at_end: bool = False,
        switch_epoch: int = 0,
    ) -> None:
        super().__init__(representative)
        check_heads(embed_dim, num_heads)
        self.img_size, self.in_chans, self.num_classes = img_size, in_chans, num_classes
        self.num_features = self.head_hidden_size = self.embed_dim = embed_dim
        self.drop_at_end, self.grad_checkpointing = drop_at_end, False
        self.patch_embed = PatchEmbed(img_size, patch_size, in_chans, embed_dim)
        self.num_tokens = self.patch_embed.num_patches
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_tokens + 1, embed_dim))
        rates = calculate_drop_path_rates(drop_path_rate, depth)
        self.blocks = nn.ModuleList([ScoringBlock(embed_dim, num_heads, mlp_ratio, r) for r in rates])
        self.norm, self.norm_cls = nn.LayerNorm(embed_dim, eps=1e-6), nn.LayerNorm(embed_dim, eps=1e-6)
        self.reset_classifier(num_classes)
        self._plan = partial(schedule, depth, self.num_tokens, keep_ratio, prune_from, score_weight)
        self.prune_from = prune_from
        self.switch_epoch = switch_epoch
        self.set_selection(selection)
        remove_idle_dropout(self)
        self.apply(_init)
        trunc_normal_(self.cls_token, std=0.02)
        trunc_normal_(self.pos_embed, std=0.02)

    def set_selection(self, selection: Literal["stage", "layer"]) -> None:
        """Rank once per stage of four blocks, or before every block; training switches from layer to stage."""
        self.plan = self._plan(selection=selection)
        self.selection = selection

    # ---- forward

    def _embed(self, x: Tensor) -> Tensor:
        x_BND = self.patch_embed(x)
        return torch.cat([self.cls_token.expand(x_BND.shape[0], -1, -1), x_BND], 1) + self.pos_embed

    def forward_features(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` to ``[B, 1 + N, D]``, class token first, patches in raster order, not normalized.

        With `drop_at_end`, the K tokens of the last group only.
        """
        x_BND = self._embed(x)
        g_BN: Tensor | None = None
        for i in range(self.prune_from):
            self.record(x_BND, g_BN)
            x_BND, row_BN = self._block(i, x_BND)
            g_BN = self._evolve(g_BN, row_BN, i)
        for start, end, kept in self.plan.groups:
            last = end == len(self.blocks)
            if kept == self.num_tokens or g_BN is None:
                x_BND, g_BN = self._all(x_BND, g_BN, start, end)
            else:
                x_BND, g_BN = self._some(x_BND, g_BN, start, end, kept, drop=last and self.drop_at_end)
        return x_BND

    def forward_head(self, x_BND: Tensor, pre_logits: bool = False) -> Tensor:
        x_BD = self.norm(x_BND[:, 1:].mean(1))
        return x_BD if pre_logits else self.head(x_BD)

    def forward(self, x: Tensor) -> Tensor | Output:
        x_BND = self.forward_features(x)
        logits_BK = self.forward_head(x_BND)
        if not self.training:
            return logits_BK
        class_BK = self.head_cls(self.norm_cls(x_BND[:, 0]))
        return Output(logits_BK, extra={"class": class_BK}, task_loss=_two_heads, uses_teacher=False)

    # ---- timm's conventions

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        self.num_classes = num_classes
        for name in self.classifier_names:
            head = nn.Linear(self.embed_dim, num_classes) if num_classes else nn.Identity()
            _init(head)
            setattr(self, name, head.to(self.pos_embed))

    def no_weight_decay(self) -> set[str]:
        return {"cls_token", "pos_embed"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {
            "stem": r"^cls_token|^pos_embed|^patch_embed",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.grad_checkpointing = enable

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

    def convert_trunk(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """timm's DeiT has our names already; the average head starts from its head and final norm."""
        return dict(state_dict)


def _two_heads(output: Output, target: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
    """Half the loss from the average head, half from the class head (official training code)."""
    return 0.5 * cross_entropy(output.logits, target, smoothing) + 0.5 * cross_entropy(
        output.extra["class"], target, smoothing
    )


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


register(EvoDeiT, VARIANTS)
