"""Evo-ViT on LeViT: slow-fast token evolution on a pyramid (arXiv 2108.01390, AAAI 2022).

The kept tokens run together with one representative of those left out, whose residuals then update all of them.
Tokens stay in raster order here and selections are index sets, so no order has to be restored between stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from timm.layers import resample_abs_pos_embed, to_2tuple, trunc_normal_
from timm.models.levit import NormLinear
from torch import Tensor, nn

from dynvit.interface import side_or_sides
from dynvit.layers.batchnorm_folding import fold_batch_norms
from dynvit.layers.classifiers import check_pool
from dynvit.layers.intermediates import PyramidIntermediates
from dynvit.models.evo_vit import official
from dynvit.models.evo_vit.levit import Stage, stem
from dynvit.models.evo_vit.loss import four_heads
from dynvit.models.evo_vit.schedule import kept_tokens, per_block
from dynvit.models.evo_vit.slow_fast_levit import SlowFastLevit
from dynvit.output import Output
from dynvit.registry import register

UNPRUNED = 2  # the first two layers of the network process all tokens

VARIANTS: dict[str, dict[str, Any]] = {
    "evo_levit_128s": {"embed_dim": (128, 256, 384), "key_dim": 16, "num_heads": (4, 6, 8), "depth": (2, 3, 4)},
    "evo_levit_128": {"embed_dim": (128, 256, 384), "key_dim": 16, "num_heads": (4, 8, 12)},
    "evo_levit_192": {"embed_dim": (192, 288, 384), "num_heads": (3, 5, 6)},
    "evo_levit_256": {"embed_dim": (256, 384, 512), "num_heads": (4, 6, 8)},
    "evo_levit_384": {"embed_dim": (384, 512, 768), "num_heads": (6, 9, 12), "drop_path_rate": 0.1},
}
VARIANTS |= {f"{name}_384": {"img_size": 384, **options} for name, options in VARIANTS.items()}


class EvoLeViT(PyramidIntermediates, SlowFastLevit, nn.Module):
    """Evo-ViT on LeViT.

    key_dim: width of a head's queries and keys.
    stem_strides: of the four convolutions of the stem.
    keep_ratio: share of patch tokens processed, a number or one per stage; the first two layers process all.
    selection: "stage" ranks once per stage, "layer" before every layer.
    learned_weight: the score's memory is the sigmoid of a learned scalar per attention layer, else 0.5.
    representative: "weighted" by score, "mean", or "none" (tokens left out stay as they are).
    switch_epoch: epochs of training with layer-wise selection and the fixed weight 0.5 before stage-wise selection
        with the learned one (the paper: 200 of 300); evaluation follows the switch. 0: as the options say throughout.
    ranking: "random" is a control at equal cost: random tokens are processed instead of those of the highest score, new
        ones at every ranking of every image in training, the same for all images in evaluation.
    """

    first_conv, classifier_name = "stem.conv1.linear", "head.linear"
    training_only = ("head_cls", "head_cls_dist")
    classifier_names = ("head", "head_dist", "head_cls", "head_cls_dist")

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: Sequence[int] = (128, 256, 384),
        key_dim: int = 32,
        num_heads: Sequence[int] = (4, 6, 8),
        depth: Sequence[int] = (4, 4, 4),
        stem_strides: Sequence[int] = (2, 2, 2, 2),
        drop_path_rate: float = 0.0,
        keep_ratio: float | Sequence[float] = 0.5,
        selection: Literal["stage", "layer"] = "stage",
        learned_weight: bool = True,
        representative: Literal["weighted", "mean", "none"] = "weighted",
        switch_epoch: int = 0,
        ranking: Literal["class", "random"] = "class",
    ) -> None:
        super().__init__(representative, ranking)
        if len(stem_strides) != 4:
            raise ValueError(f"stem_strides are four numbers, got {tuple(stem_strides)}")
        self.stride, self.in_chans, self.global_pool = math.prod(stem_strides), in_chans, "avg"
        self.num_features = self.head_hidden_size = self.embed_dim = embed_dim[-1]
        self.learned_weight, self.drop_path_rate = learned_weight, drop_path_rate
        self.switch_epoch = switch_epoch
        self.set_selection(selection)

        self.ratios = per_block(keep_ratio, len(embed_dim), "keep_ratio")
        self._set_grids(img_size)
        self.feature_info = [
            {"num_chs": c, "reduction": self.stride * 2**i, "module": f"stages.{i}"} for i, c in enumerate(embed_dim)
        ]
        self.stem = stem(in_chans, embed_dim[0], stem_strides)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim[0]))
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.grids[0]) + 1, embed_dim[0]))
        self.stages = nn.ModuleList(
            Stage(embed_dim[s], key_dim, num_heads[s], depth[s], embed_dim[s - 1] if s else None, self.grids[s - 1])
            for s in range(len(embed_dim))
        )
        self.depth = sum(depth)
        self.draw(self.depth, math.prod(self.grid))
        self.reset_classifier(num_classes)
        for name, table in self.named_parameters():
            if name.endswith("pos_embed"):
                trunc_normal_(table, std=0.02)

    def _set_grids(self, img_size: int | tuple[int, int]) -> None:
        """Set the size of the images and what follows from it: each stage's grid, and how many tokens it keeps."""
        size = to_2tuple(img_size)
        if size[0] % self.stride or size[1] % self.stride:
            raise ValueError(f"img_size {img_size} must be divisible by {self.stride}, the product of stem_strides")
        grids = [(size[0] // self.stride, size[1] // self.stride)]
        for _ in self.ratios[1:]:
            grids.append(((grids[-1][0] + 1) // 2, (grids[-1][1] + 1) // 2))
        self.kept = [kept_tokens(r, math.prod(grid)) for r, grid in zip(self.ratios, grids, strict=True)]
        self.grids = tuple(grids)

    @property
    def img_size(self) -> int | tuple[int, int]:
        return side_or_sides((self.grid[0] * self.stride, self.grid[1] * self.stride))

    @property
    def grid(self) -> tuple[int, int]:
        return self.grids[0]

    def set_selection(self, selection: Literal["stage", "layer"]) -> None:
        """Rank once per stage or before every layer; training switches from layer to stage."""
        if selection not in ("stage", "layer"):
            raise ValueError(f'selection is "stage" or "layer", not {selection!r}')
        self.selection = selection

    # ---- forward

    def forward_features(self, x: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` to tokens of the last stage ``[B, 1 + n, C3]``, class token first, raster order."""
        return self._maps(x, len(self.stages) - 1)[-1]

    def _nchw(self, stage_map: Tensor, stage: int) -> Tensor:
        return stage_map[:, 1:].mT.unflatten(2, self.grids[stage])

    def _maps(self, x: Tensor, last: int) -> list[Tensor]:
        """Tokens after every stage up to `last`."""
        if side_or_sides(tuple(x.shape[-2:])) != self.img_size:
            size = tuple(x.shape[-2:])
            raise ValueError(f"images of {size} pixels; this model was built for img_size={self.img_size}")
        x_BNC = self.stem(x).flatten(2).transpose(1, 2)
        x_BNC = torch.cat([self.cls_token.expand(x_BNC.shape[0], -1, -1), x_BNC], 1) + self.pos_embed
        g_BN: Tensor | None = None
        tokens = []
        for s in range(last + 1):
            x_BNC, g_BN = self._stage(s, x_BNC, g_BN)
            tokens.append(x_BNC)
        return tokens

    def _stage(self, s: int, x_BNC: Tensor, g_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        stage, before = self.stages[s], sum(len(stage.blocks) for stage in self.stages[:s])
        if stage.downsample is not None:
            x_BNC, g_BN = self._subsample(stage.downsample, x_BNC, g_BN)
        free = UNPRUNED if s == 0 else 0
        if self.kept[s] == x_BNC.shape[1] - 1:
            free = len(stage.blocks)
        for layer in stage.blocks[:free]:
            self.record(x_BNC, g_BN)
            x_BNC, row_BN, _ = self._layer(layer, x_BNC)
            g_BN = self._evolve(g_BN, row_BN, layer.attn.learn_tradeoff)
        layers = list(stage.blocks)
        step = max(len(layers), 1) if self.selection == "stage" else 1
        for i in range(free, len(layers), step):
            x_BNC, g_BN = self._some(layers[i : i + step], x_BNC, g_BN, self.kept[s], before + i)
        return x_BNC, g_BN

    def forward_head(self, x_BNC: Tensor, pre_logits: bool = False) -> Tensor:
        if not self.global_pool:
            return x_BNC
        x_BC = x_BNC[:, 1:].mean(1)
        return x_BC if pre_logits else (self.head(x_BC) + self.head_dist(x_BC)) / 2

    def forward(self, x: Tensor) -> Tensor | Output:
        x_BNC = self.forward_features(x)
        if not self.training:
            return self.forward_head(x_BNC)
        x_BC, class_BC = x_BNC[:, 1:].mean(1), x_BNC[:, 0]
        extra = {
            "dist": self.head_dist(x_BC),
            "class": self.head_cls(class_BC),
            "class_dist": self.head_cls_dist(class_BC),
        }
        return Output(self.head(x_BC), extra=extra, task_loss=four_heads)

    def fuse(self) -> EvoLeViT:
        """Fold every batch normalization into its linear map, for deployment; in place, evaluation only."""
        self.eval()
        fold_batch_norms(self)
        return self

    # ---- timm's conventions

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        check_pool(self, global_pool, "avg")
        self.global_pool = self.global_pool if global_pool is None else global_pool
        self.num_classes = num_classes
        for name in self.classifier_names:
            head = NormLinear(self.embed_dim, num_classes) if num_classes else nn.Identity()
            setattr(self, name, head.to(self.pos_embed).train(self.training))

    def position_grids(self) -> dict[str, tuple[int, int]]:
        tables = [f"stages.{s}.downsample.attn_downsample.pos_embed" for s in range(1, len(self.stages))]
        return dict(zip(["pos_embed", *tables], [self.grid, *self.grids], strict=False))

    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Take images of another size from now on; position tables are resampled."""
        if patch_size is not None:
            raise ValueError("Evo-LeViT's patches follow from stem_strides: patch_size cannot be set")
        before = self.position_grids()
        self._set_grids(self.img_size if img_size is None else img_size)
        self.draw(self.depth, math.prod(self.grid))
        for name, grid in self.position_grids().items():
            owner = self.get_submodule(name.rpartition(".")[0])
            table = resample_abs_pos_embed(owner.pos_embed, list(grid), list(before[name]))
            owner.pos_embed = nn.Parameter(table.detach(), owner.pos_embed.requires_grad)
            if owner is not self:
                owner.set_grid(grid)

    def no_weight_decay(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if name.endswith("pos_embed")}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        blocks = [(r"^stages\.(\d+)\.downsample", (-1,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None)]
        return {"stem": r"^cls_token|^pos_embed|^stem", "blocks": r"^stages\.(\d+)" if coarse else blocks}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            raise ValueError("Evo-LeViT cannot recompute its layers: batch statistics would be counted twice")

    # ---- checkpoints

    def convert_official(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Official names (`blocks.b`, with second names under `stage_blocks`) to ours, which are timm's."""
        return official.evo_levit(state_dict, [len(stage.blocks) for stage in self.stages])

    def convert_trunk(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """timm's LeViT has our names already; its attention biases have no counterpart here."""
        return dict(state_dict)


register(EvoLeViT, VARIANTS)
