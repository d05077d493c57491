"""SReT, sliced recursive transformer (arXiv 2111.05297): blocks applied several times, attention in permuted slices.

Three stages without class token. Published recipes drop paths at 0.1 (sliced tiny), 0.2 (small), 0 (tiny without
slices); here ``drop_path_rate`` is 0 unless given. Very deep models with shared layers: ``recursion=100`` makes 1000
block applications out of ten unique blocks; ``nll="shared"`` or ``False`` then keeps the parameters apart from the
depth, and ``set_grad_checkpointing`` keeps one tensor per application.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from timm.layers import to_2tuple, trunc_normal_
from torch import Tensor, nn

from dynvit.checkpoint.key_mapping import rename
from dynvit.checkpoint.pos_embed import resample_map
from dynvit.interface import DynamicModel, side_or_sides
from dynvit.layers.classifiers import check_pool
from dynvit.layers.intermediates import PyramidIntermediates
from dynvit.models.sret.block import EPS, Mlp, RecursiveBlock, RecursiveStage, SlicedAttention
from dynvit.models.sret.geometry import (
    check_widths,
    plan_depth,
    plan_drop_path,
    plan_grids,
    plan_projections,
    plan_slices,
    reduction,
)
from dynvit.models.sret.official import sret_names
from dynvit.models.sret.permutation import Permuter, SeededPermuter
from dynvit.models.sret.stem import ConvStem, TokenPool, map_of, tokens_of
from dynvit.registry import register


class SReT(PyramidIntermediates, DynamicModel, nn.Module):
    """Sliced recursive transformer.

    base_dim: width of an attention head. heads: attention heads of each stage; widths are `base_dim` times these.
    nll_ratio: hidden width of a projection layer over the width of a token.
    recursion: how often each block is applied.
    unique: blocks with weights of their own, per stage. depth: block applications per stage instead of `unique`.
    groups: slices per stage and pass, a short list repeats its last entry.
    nll: a non-linear projection layer of its own after every pass, one shared by all passes of a block, or none.
    learn_scales: learnable residual scalars, else 1.
    stem_strides: of the three convolutions of the stem, each 1 or 2.
    """

    static_cost = True
    first_conv = "stem.0.conv"

    def __init__(
        self,
        img_size: int | Sequence[int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        base_dim: int = 32,
        heads: Sequence[int] = (2, 4, 8),
        mlp_ratio: float = 3.6,
        nll_ratio: float = 1.0,
        recursion: int = 2,
        depth: Sequence[int] | None = None,
        unique: Sequence[int] = (2, 5, 3),
        groups: Sequence[Sequence[int]] = ((8, 2), (4, 1), (1, 1)),
        nll: Literal[True, False, "shared"] = True,
        learn_scales: bool = True,
        stem_strides: Sequence[int] = (2, 2, 2),
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_widths(base_dim, heads, mlp_ratio, nll_ratio)
        depth = plan_depth(depth, recursion, unique)
        grids = plan_grids(img_size, stem_strides)
        slices = plan_slices(groups, grids, recursion)
        rates = plan_drop_path(drop_path_rate, depth, recursion)
        widths = [base_dim * h for h in heads]
        self.in_chans, self.num_classes = in_chans, num_classes
        self.stem_strides, self.groups = tuple(stem_strides), groups
        self.num_features = self.head_hidden_size = self.embed_dim = widths[-1]
        self.recursion, self.nlls_per_block = recursion, plan_projections(nll, recursion)
        self.global_pool = "avg"
        self._permuter: Permuter | None = None

        def block(s: int, rate: float) -> RecursiveBlock:
            dim, hidden, nll_hidden = widths[s], int(widths[s] * mlp_ratio), int(widths[s] * nll_ratio)
            return RecursiveBlock(
                SlicedAttention(dim, heads[s], learn_scales, rate),
                Mlp(dim, hidden, learn_scales, rate),
                [Mlp(dim, nll_hidden, learn_scales) for _ in range(self.nlls_per_block)],
            )

        self.stem = ConvStem(in_chans, widths[0], stem_strides)
        self.pos_embed = nn.Parameter(torch.zeros(1, widths[0], *grids[0]))
        self.stages = nn.ModuleList(
            RecursiveStage([block(s, rate) for rate in rates[s]], slices[s], grids[s]) for s in range(len(grids))
        )
        self.pools = nn.ModuleList(TokenPool(widths[s], widths[s + 1]) for s in range(len(grids) - 1))
        self.norm = nn.LayerNorm(widths[-1], eps=EPS)
        self.head_drop = nn.Dropout(drop_rate)
        self.head = self._classifier(num_classes)
        self.seeded = self._seeded()
        self.feature_info = [
            {"num_chs": widths[s], "reduction": reduction(stem_strides, s), "module": f"stages.{s}"}
            for s in range(len(grids))
        ]
        trunc_normal_(self.pos_embed, std=0.02)  # all else keeps PyTorch's own initialization, as officially

    def _seeded(self) -> SeededPermuter:
        return SeededPermuter([stage.tokens for stage in self.stages for _ in range(stage.permutations())])

    @property
    def img_size(self) -> int | tuple[int, int]:
        pixels = self.feature_info[0]["reduction"]
        return side_or_sides(tuple(side * pixels for side in self.grid))

    @property
    def grid(self) -> tuple[int, int]:
        return self.stages[0].grid

    @property
    def permuter(self) -> Permuter:
        """``(k, n)`` -> the k-th permutation of a forward pass; fixed by seed in eval mode unless replaced."""
        return self.seeded if self._permuter is None else self._permuter

    @permuter.setter
    def permuter(self, permuter: Permuter | None) -> None:
        self._permuter = permuter

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x_BCHW))

    def forward_features(self, x_BCHW: Tensor) -> Tensor:
        """Images -> the last stage's map ``[B, C, H, W]``, before pooling and normalization."""
        return self._maps(x_BCHW, last=len(self.stages) - 1)[-1]

    def forward_head(self, x_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Mean over the map, THEN LayerNorm, classifier (unless `pre_logits`)."""
        if self.global_pool == "":
            return x_BCHW
        x_BC = self.head_drop(self.norm(x_BCHW.mean((2, 3))))
        return x_BC if pre_logits else self.head(x_BC)

    def _maps(self, x_BCHW: Tensor, last: int) -> list[Tensor]:
        """Output map of every stage up to `last`."""
        if side_or_sides(tuple(x_BCHW.shape[-2:])) != self.img_size:
            h, w = to_2tuple(self.img_size)
            raise ValueError(f"image size {tuple(x_BCHW.shape[-2:])}, but the model was built for {h} x {w}")
        x_BNC = tokens_of(self.stem(x_BCHW)) + tokens_of(self.pos_embed)
        maps: list[Tensor] = []
        drawn = 0
        for s, stage in enumerate(self.stages[: last + 1]):
            if s:
                x_BNC = self.pools[s - 1](x_BNC, self.stages[s - 1].grid)
            x_BNC = stage(x_BNC, self.permuter, drawn)
            drawn += stage.permutations()
            if self.trace is not None:
                for _ in range(stage.depth):
                    self.trace.record(torch.ones(x_BNC.shape[:2], dtype=torch.bool, device=x_BNC.device))
            maps.append(map_of(x_BNC, stage.grid))
        return maps

    def fuse(self) -> SReT:
        """A copy for deployment: BatchNorm folded into the stem, residual scalars into the layers they follow.

        Odd widths are padded with zeros to multiples of 8, so its counted cost may exceed the model's own.
        """
        model = copy.deepcopy(self).eval().requires_grad_(False)
        for module in list(model.modules()):
            if hasattr(module, "fold"):
                module.fold()
        return model

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names of szq0214/SReT -> ours, with or without the second names of shared blocks."""
        own = self.state_dict()
        return rename(state_dict, sret_names(own, self.recursion, self.nlls_per_block), own, "SReT")

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the input of every block application for the backward pass."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        scalars = {n for n, _ in self.named_parameters() if n.endswith((".skip", ".branch"))}
        return {"pos_embed", *scalars}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's layer groups in order: stem, unique blocks (or stages) and the pooling after them."""
        fine = [(r"^stages\.(\d+)\.blocks\.(\d+)", None), (r"^pools\.(\d+)", (1000,))]
        return {"stem": r"^stem|pos_embed", "blocks": r"^(?:stages|pools)\.(\d+)" if coarse else fine}

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        check_pool(self, global_pool, "avg")
        self.global_pool = self.global_pool if global_pool is None else global_pool
        self.num_classes = num_classes
        self.head = self._classifier(num_classes).to(self.pos_embed).train(self.training)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what the chosen intermediates do not need."""
        take = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        self.pools = self.pools[: len(self.stages) - 1]
        return take

    def set_input_size(
        self, img_size: int | Sequence[int] | None = None, patch_size: int | tuple[int, int] | None = None
    ) -> None:
        """Take images of another size from now on; ValueError where a slice would not divide the new grid."""
        if patch_size is not None:
            raise ValueError("SReT's patches follow from stem_strides: patch_size cannot be set")
        grids = plan_grids(self.img_size if img_size is None else img_size, self.stem_strides)
        slices = plan_slices(self.groups, grids, self.recursion)
        table = resample_map(self.pos_embed.detach(), grids[0])
        self.pos_embed = nn.Parameter(table, self.pos_embed.requires_grad)
        for stage, grid, groups in zip(self.stages, grids, slices, strict=False):
            stage.grid, stage.groups = grid, groups
        self.seeded = self._seeded().to(table.device).train(self.training)

    def _classifier(self, num_classes: int) -> nn.Module:
        return nn.Linear(self.num_features, num_classes) if num_classes > 0 else nn.Identity()


VARIANTS: dict[str, dict[str, Any]] = {
    "sret_tiny": {"mlp_ratio": 3.6},
    "sret_large_tiny": {"mlp_ratio": 4.0},
    "sret_small": {"base_dim": 42, "heads": (3, 6, 12), "mlp_ratio": 3.0, "nll_ratio": 2.0},
    "sret_tiny_noslice": {"mlp_ratio": 3.6, "groups": ((1, 1), (1, 1), (1, 1))},
    "sret_large_tiny_noslice": {"mlp_ratio": 4.0, "groups": ((1, 1), (1, 1), (1, 1))},
    "sret_small_noslice": {
        "base_dim": 42,
        "heads": (3, 6, 12),
        "mlp_ratio": 3.0,
        "nll_ratio": 2.0,
        "groups": ((1, 1), (1, 1), (1, 1)),
    },
}

register(SReT, VARIANTS)
