"""LV-ViT: a DeiT-like transformer trained with a label for every patch (arXiv 2104.10858, NeurIPS 2021).

The class head and a patch head share the work: evaluation adds half the maximum of the patch logits. Training mixes
two images token by token (MixToken) and asks each patch for its own label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import trunc_normal_
from timm.models import checkpoint
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from dynvit.checkpoint.pos_embed import resize_position_table
from dynvit.config.option_checks import check_heads, check_not_negative, check_positive
from dynvit.interface import DynamicModel
from dynvit.layers.classifiers import check_pool, reset_heads
from dynvit.layers.intermediates import TokenIntermediates
from dynvit.layers.no_dropout import remove_idle_dropout
from dynvit.models.lv_vit.mix_token import random_box, swap
from dynvit.models.lv_vit.stem import LVStem
from dynvit.output import Output, label_loss
from dynvit.registry import register

VARIANTS: dict[str, dict[str, Any]] = {
    "lvvit_tiny": {"embed_dim": 240, "depth": 12, "num_heads": 4, "skip_lam": 1.0},
    "lvvit_small": {"embed_dim": 384, "depth": 16, "num_heads": 6, "skip_lam": 2.0},
    "lvvit_medium": {"embed_dim": 512, "depth": 20, "num_heads": 8, "skip_lam": 2.0},
}


class DividedBranch(nn.Module):
    """Divides a residual branch."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x if self.by == 1 else x / self.by


class LVBlock(Block):
    """timm's block with both branches divided by `skip_lam`; its parameter names."""

    def __init__(self, *args: Any, skip_lam: float = 1.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ls1, self.ls2, self.share = DividedBranch(skip_lam), DividedBranch(skip_lam), 1 / skip_lam

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        y = self.drop_path1(self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal))
        x = torch.add(x, y, alpha=self.share)  # division and sum in one pass over the tokens
        return torch.add(x, self.drop_path2(self.mlp(self.norm2(x))), alpha=self.share)


class LVTransformer(TokenIntermediates, DynamicModel, VisionTransformer):
    """LV-ViT's transformer with both heads; training asks for the image's label through the evaluation logits.

    stem_width: channels of the stem's convolutions.
    stem_strides: of the three convolutions, and the side of the patch projection; 224 px: (2, 1, 1, 8), 14 x 14 tokens.
    skip_lam: divisor of the residual branches.
    """

    classifier_names = ("head", "aux_head")
    first_conv = "patch_embed.conv1"
    static_cost = True

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 384,
        depth: int = 16,
        num_heads: int = 6,
        mlp_ratio: float = 3.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        stem_width: int = 64,
        stem_strides: Sequence[int] = (2, 1, 1, 8),
        skip_lam: float = 2.0,
    ) -> None:
        check_positive(skip_lam=skip_lam, depth=depth, stem_width=stem_width)
        check_heads(embed_dim, num_heads)
        super().__init__(
            img_size=img_size, in_chans=in_chans, num_classes=num_classes, embed_dim=embed_dim, depth=depth,
            num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=False, drop_rate=drop_rate,
            drop_path_rate=drop_path_rate, norm_layer=partial(nn.LayerNorm, eps=1e-5),
            embed_layer=partial(LVStem, width=stem_width, strides=stem_strides),
            block_fn=partial(LVBlock, skip_lam=skip_lam),
        )  # fmt: skip
        remove_idle_dropout(self)
        trunc_normal_(self.cls_token, std=0.02)
        reset_heads(self, ("aux_head",))

    # ---- forward

    def _features(self, x: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """Normalized tokens ``[B, 1 + N, C]``, class token first, not mixed."""
        return self._run(self.patch_embed(x), states)

    def forward_head(self, x_BTC: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits, without pooling those of every token; `pre_logits`: the class token."""
        x_BC = self.head_drop(self.pool(x_BTC))
        if pre_logits or not self.num_classes:
            return x_BC
        return torch.add(self.head(x_BC), self.aux_head(x_BTC[:, 1:]).amax(1, keepdim=x_BC.ndim == 3), alpha=0.5)

    def _run(self, x_BNC: Tensor, states: list[Tensor] | None = None) -> Tensor:
        x_BTC, again = self._pos_embed(x_BNC), self.grad_checkpointing and self.training
        for block in self.blocks:
            if self.trace is not None:
                self.trace.record(torch.ones_like(x_BNC[..., 0], dtype=torch.bool))
            x_BTC = checkpoint(block, x_BTC) if again else block(x_BTC)
            if states is not None:
                states.append(x_BTC)
        return self.norm(x_BTC)

    # ---- timm's conventions

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        check_pool(self, global_pool, "token")
        super().reset_classifier(num_classes, global_pool)
        reset_heads(self, self.classifier_names)

    def token_classifier(self) -> nn.Module:
        return self.aux_head  # type: ignore[no-any-return]

    # ---- checkpoints

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names are the official ones; tables and heads that only exist in training code are not part of them."""
        return dict(state_dict)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """LV-ViT -> ours: the names are equal; a position table of another grid is resampled."""
        return resize_position_table(state_dict, self)


class LVViT(LVTransformer):
    """LV-ViT.

    Labels of the patches are, in this order: what `set_token_labels` gave for this batch; the teacher's prediction
    (``training_loss(..., teacher_logits=)``, per patch ``[B, N, K]`` or per image ``[B, K]``); the image's label.

    w_dense: weight of the patch loss; 0 trains both heads on the image label alone, through the evaluation logits.
    mix_token: mix tokens of two images in training, with `w_dense` only; `model.generator` may hold a generator.
    """

    def __init__(self, skip_lam: float = 1.0, w_dense: float = 1.0, mix_token: bool = True, **backbone: Any) -> None:
        check_not_negative(w_dense=w_dense)
        super().__init__(skip_lam=skip_lam, **backbone)
        self.w_dense, self.mix_token = w_dense, mix_token
        self.generator: torch.Generator | None = None
        self._labels: dict[str, Tensor] = {}

    def set_token_labels(self, patches_BNK: Tensor, image_BK: Tensor | None = None) -> None:
        """Set label probabilities of the next training batch: of its patches and, instead of the target, its images."""
        classes, tokens = self.num_classes, self.patch_embed.num_patches
        if patches_BNK.shape[1:] != (tokens, classes):
            raise ValueError(f"token labels must be [B, {tokens}, {classes}], got {tuple(patches_BNK.shape)}")
        self._labels = {"token_labels": patches_BNK}
        if image_BK is not None:
            self._labels["image_labels"] = image_BK

    def forward(self, x: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training with `w_dense` an ``Output`` with ``extra["aux"]`` [B, N, K]."""
        if not (self.training and self.w_dense and self.num_classes):
            return self.forward_head(self.forward_features(x))
        extra, self._labels = self._labels, {}
        x_BNC, inside_N = self.patch_embed(x), None
        if self.mix_token:
            inside_N = random_box(self.patch_embed.grid_size, x.device, self.generator)
            x_BNC = swap(x_BNC, inside_N)
            extra["lam"] = 1 - inside_N.float().mean()
        x_BTC = self._run(x_BNC)
        aux_BNK = self.aux_head(x_BTC[:, 1:])
        extra["aux"] = aux_BNK if inside_N is None else swap(aux_BNK, inside_N)
        logits = self.head(self.head_drop(x_BTC[:, 0]))
        return Output(logits, extra=extra, weights={"dense": self.w_dense}, task_loss=token_labeling)


def token_labeling(output: Output, target: Tensor, teacher: Tensor | None, smoothing: float) -> Tensor:
    """Cross entropy of the class head; that of the patches goes to ``output.losses["dense"]``."""
    extra = output.extra
    label = extra.get("image_labels", target)
    loss = label_loss(output.logits, label, smoothing)
    if "lam" in extra:
        loss = extra["lam"] * loss + (1 - extra["lam"]) * label_loss(output.logits, label.flip(0), smoothing)
    label_BKN, smoothing = _patch_labels(extra, target, teacher, smoothing)
    output.losses["dense"] = F.cross_entropy(extra["aux"].transpose(1, 2), label_BKN, label_smoothing=smoothing)
    return loss


def _patch_labels(
    extra: dict[str, Tensor], target: Tensor, teacher: Tensor | None, smoothing: float
) -> tuple[Tensor, float]:
    """Class numbers ``[B, N]`` or probabilities ``[B, K, N]``, and the smoothing, which is for numbers only."""
    tokens = extra["aux"].shape[1]
    if "token_labels" in extra:
        return extra["token_labels"].transpose(1, 2), 0.0
    if teacher is not None:
        share = teacher.softmax(-1)
        return share.transpose(1, 2) if share.ndim == 3 else share[..., None].expand(-1, -1, tokens), 0.0
    return target[..., None].expand(*target.shape, tokens), smoothing if target.ndim == 1 else 0.0


register(LVViT, VARIANTS)
