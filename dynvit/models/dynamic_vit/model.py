"""DynamicViT on DeiT and LV-ViT: tokens pruned in three steps by a learned predictor (arXiv 2106.02034, NeurIPS 2021).

Evaluation really removes tokens; training masks them by a straight-through draw and adds a loss on the kept share and,
with a teacher (the unpruned backbone), two distillation terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dynvit.checkpoint.pos_embed import resize_position_table
from dynvit.config.option_checks import check_not_negative, check_positive
from dynvit.layers.deit import DeiT
from dynvit.layers.pruning_loss import distilled, kept_share
from dynvit.models.dynamic_vit.pruning import PruningMixin
from dynvit.models.lv_vit.model import LVTransformer
from dynvit.output import Output
from dynvit.registry import register

DEIT: dict[str, dict[str, Any]] = {
    "dynamicvit_deit_tiny_patch16_224": {"embed_dim": 192, "num_heads": 3},
    "dynamicvit_deit_small_patch16_224": {"embed_dim": 384, "num_heads": 6},
    "dynamicvit_deit_base_patch16_224": {"embed_dim": 768, "num_heads": 12, "ratio_weight": 5.0},
}
LVVIT: dict[str, dict[str, Any]] = {
    "dynamicvit_lvvit_small": {"embed_dim": 384, "depth": 16, "num_heads": 6},
    "dynamicvit_lvvit_medium": {"embed_dim": 512, "depth": 20, "num_heads": 8},
}


class DistillationMixin(PruningMixin):
    """Training of a pruned transformer: losses, teacher, the backbone's own learning rate.

    Attributes: `noise(stage, logprob)` gives the Gumbel noise of training.

    keep_ratio: share of the patch tokens kept by each location, so that its powers are left; or the shares left.
    locations: blocks in front of which tokens are dropped, from 0; None: after each quarter of the depth.
    predictor_eps: of the predictor's layer norms.
    ratio_weight, distill_weight, token_weight: of the losses on the kept share, the teacher's logits and its tokens.
    freeze_epochs: epochs in which the backbone's learning rate is 0; 5 in the paper, which starts from trained weights.
    trunk_scale: learning rate of the backbone over that of the predictors; 0.01 in the paper, for the same reason.
    """

    def __init__(
        self,
        keep_ratio: float | Sequence[float] = 0.7,
        locations: Sequence[int] | None = None,
        predictor_eps: float = 1e-5,
        ratio_weight: float = 2.0,
        distill_weight: float = 0.5,
        token_weight: float = 0.5,
        freeze_epochs: int = 0,
        trunk_scale: float = 1.0,
        **backbone: Any,
    ) -> None:
        super().__init__(**backbone)
        check_positive(predictor_eps=predictor_eps)
        self._prune(keep_ratio, locations, predictor_eps)
        check_not_negative(
            ratio_weight=ratio_weight, distill_weight=distill_weight, token_weight=token_weight,
            freeze_epochs=freeze_epochs, trunk_scale=trunk_scale,
        )  # fmt: skip
        share = ratio_weight / len(self.locations)
        self.weights = {"ratio": share, "distillation": distill_weight, "token": token_weight}
        self.freeze_epochs, self.trunk_scale, self.backbone_frozen = freeze_epochs, trunk_scale, False
        self.set_teacher(None)

    def set_teacher(self, teacher: nn.Module | None) -> bool:
        """The unpruned backbone, run in evaluation mode in every training forward pass; None removes it.

        It is no part of the model: neither in its state dict nor moved with it. Without it there are no token terms,
        and ``training_loss(..., teacher_logits=)`` is the way to the logit term.
        """
        object.__setattr__(self, "teacher", teacher)
        return teacher is not None

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """The backbone does not move in the first `freeze_epochs` epochs (see `parameter_groups`)."""
        self.backbone_frozen = epoch < self.freeze_epochs

    @property
    def at_final_operating_point(self) -> bool:
        return not self.backbone_frozen

    def parameter_groups(self, weight_decay: float = 0.05, trunk_scale: float | None = None) -> list[dict[str, Any]]:
        """The official groups for an optimizer, `lr_scale` as timm's schedulers read it.

        The backbone learns at `trunk_scale` (None: the model's own) times the rate of the predictors. Class token and
        position table are left as they were trained, unless the backbone learns at the full rate, as from scratch.
        It is frozen by a learning rate of 0: gradients flow as always, so that processes exchange the same ones in
        every epoch.
        """
        trunk_scale = self.trunk_scale if trunk_scale is None else trunk_scale
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            table = name in ("cls_token", "pos_embed")
            if not table or trunk_scale == 1:
                key = (name.startswith("score_predictor"), parameter.ndim > 1 and not table)
                groups.setdefault(key, []).append(parameter)
        return [
            {
                "params": p,
                "lr_scale": 1.0 if own else trunk_scale,
                "weight_decay": weight_decay if matrix else 0.0,
                "freeze_epochs": 0 if own else self.freeze_epochs,
            }
            for (own, matrix), p in groups.items()
        ]

    def forward(self, x: Tensor) -> Tensor | Output:
        """Logits ``[B, K]``; in training an ``Output`` with the loss on the kept share."""
        if not self.training:
            return self.forward_head(self.forward_features(x))
        x_BTC, masks = self._train_masked(self._pos_embed(self.patch_embed(x)))
        kept_BN = masks[-1].detach() > 0.5
        logits, extra = self._student(self.norm(x_BTC), kept_BN)
        extra["kept"] = kept_BN
        if self.teacher is not None:
            extra |= self._teacher_targets(x)
        return Output(logits, {"ratio": kept_share(masks, self.ratios)}, extra, dict(self.weights), distilled)

    @torch.no_grad()
    def _teacher_targets(self, x: Tensor) -> dict[str, Tensor]:
        teacher = self.teacher.eval()
        features_BTC = teacher.forward_features(x)
        tokens = teacher.aux_head(features_BTC[:, 1:]) if isinstance(self, LVTransformer) else features_BTC[:, 1:]
        return {"teacher_logits": teacher.forward_head(features_BTC), "teacher_tokens": tokens}

    def convert_official(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The names are the official ones."""
        return dict(state_dict)

    def convert_trunk(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The backbone's names are ours; a position table of another grid is resampled."""
        return resize_position_table(state_dict, self)


class DynamicViT(DistillationMixin, DeiT):
    """DynamicViT on DeiT, at any grid."""

    def _student(self, x_BTC: Tensor, kept_BN: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.forward_head(x_BTC), {"tokens": x_BTC[:, 1:]}


class DynamicLVViT(DistillationMixin, LVTransformer):
    """DynamicViT on LV-ViT, without MixToken.

    Training uses the class head alone where a teacher of tokens trains the patches' head, as officially. Without one
    it uses the logits of evaluation, so that no head is evaluated that nothing has trained.
    """

    def _student(self, x_BTC: Tensor, kept_BN: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits_BK, aux_BNK = self.head(self.head_drop(x_BTC[:, 0])), self.aux_head(x_BTC[:, 1:])
        if self.teacher is None:
            gone_BN = ~kept_BN & kept_BN.any(1, keepdim=True)
            logits_BK = logits_BK + 0.5 * aux_BNK.masked_fill(gone_BN[..., None], -torch.inf).amax(1)
        return logits_BK, {"aux": aux_BNK}


register(DynamicViT, DEIT)
register(DynamicLVViT, LVVIT)
