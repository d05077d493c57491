"""Losses of token propagation: ponder or budget, the prior over depth, a teacher (TPC-ViT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.layers.option_checks import check_not_negative
from dynvit.models.tpc_vit.controller import ControllerOptions, PropagationState
from dynvit.models.tpc_vit.smoothing import prior_loss
from dynvit.output import Output, TaskLoss, cross_entropy


@dataclass(frozen=True)
class Weights:
    """Weights of the terms, as the model's arguments ``ponder_weight``, ``prior_weight`` ..."""

    ponder: float = 5e-4
    prior: float = 1e-3
    budget: float = 2.0
    distill: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative(**{f"{name}_weight": value for name, value in vars(self).items()})


def regularizers(chains: list[PropagationState], rules: ControllerOptions) -> dict[str, Tensor]:
    """Unweighted terms of one forward pass: "ponder" or, with a keep rate, "budget"; "prior".

    chains: of the controllers in the order of the layers (one; for Swin one per stage).
    """
    terms = {}
    if rules.keep_rate is None:
        terms["ponder"] = torch.stack([pi_BN.mean() for chain in chains for pi_BN in chain.pis]).sum()
    else:
        # Layer by layer, as evaluation keeps that share in every layer: one mean over all layers is met by pausing
        # nothing early and nearly everything late. The first layer of a chain always has every token.
        later = torch.stack([pi_BN.mean() for chain in chains for pi_BN in chain.pis[1:]])
        terms["budget"] = (later - rules.keep_rate).square().mean()
    if rules.prior:
        terms["prior"] = prior_loss(torch.stack([b for chain in chains for b in chain.breaks]))
    return terms


def training_output(
    logits: Tensor, chains: list[PropagationState], rules: ControllerOptions, weights: Weights
) -> Output | Tensor:
    """The model's training output; plain logits when nothing is added."""
    if not chains and not weights.distill:
        return logits
    return Output(
        logits,
        regularizers(chains, rules) if chains else {},
        weights={"ponder": weights.ponder, "budget": weights.budget, "prior": weights.prior},
        task_loss=kl_distillation(weights.distill) if weights.distill else None,
    )


def kl_distillation(weight: float) -> TaskLoss:
    """Cross entropy plus `weight` times KL(teacher || student), mean over the batch."""

    def loss(output: Output, target: Tensor, teacher_logits: Tensor | None, label_smoothing: float) -> Tensor:
        if teacher_logits is None:
            raise ValueError("distill_weight is not 0: the training loss needs teacher_logits")
        student, teacher = output.logits.log_softmax(-1), teacher_logits.log_softmax(-1)
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return cross_entropy(output.logits, target, label_smoothing) + weight * divergence

    return loss
