"""Losses of token propagation: ponder or budget, the prior over depth, a teacher (TPC-ViT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.models.tpc_vit.controller import PropagationState
from dynvit.models.tpc_vit.options import TPCOptions
from dynvit.models.tpc_vit.smoothing import prior_loss
from dynvit.output import Output, TaskLoss, label_loss


def regularizers(chains: list[PropagationState], options: TPCOptions) -> dict[str, Tensor]:
    """Unweighted terms of one forward pass: "ponder" or, with a keep rate, "budget"; "prior".

    chains: of the controllers in the order of the layers (one; for Swin one per stage).
    """
    terms = {}
    if options.keep_rate is None:
        terms["ponder"] = torch.stack([pi_BN.mean() for chain in chains for pi_BN in chain.pis]).sum()
    else:
        # Layer by layer, as evaluation keeps that share in every layer: one mean over all layers is met by pausing
        # nothing early and nearly everything late. The first layer of a chain always has every token.
        later = [pi_BN.mean() for chain in chains for pi_BN in chain.pis[1:]]
        if later:  # not where every chain has one layer
            terms["budget"] = (torch.stack(later) - options.keep_rate).square().mean()
    if options.prior:
        terms["prior"] = prior_loss(torch.stack([b for chain in chains for b in chain.breaks]))
    return terms


def training_output(logits: Tensor, chains: list[PropagationState], options: TPCOptions) -> Output | Tensor:
    """The model's training output; plain logits when nothing is added."""
    if not chains and not options.distill_weight:
        return logits
    return Output(
        logits,
        regularizers(chains, options) if chains else {},
        weights={"ponder": options.ponder_weight, "budget": options.budget_weight, "prior": options.prior_weight},
        task_loss=kl_distillation(options.distill_weight) if options.distill_weight else None,
    )


def kl_distillation(weight: float) -> TaskLoss:
    """Cross entropy plus `weight` times KL(teacher || student), mean over the batch."""

    def loss(output: Output, target: Tensor, teacher_logits: Tensor | None, label_smoothing: float) -> Tensor:
        if teacher_logits is None:
            raise ValueError("distill_weight is not 0: the training loss needs teacher_logits")
        student, teacher = output.logits.log_softmax(-1), teacher_logits.log_softmax(-1)
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return label_loss(output.logits, target, label_smoothing) + weight * divergence

    return loss
