"""Losses of routing: logits of moderate size, depths that are chosen evenly, routers that know what they select."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.models.mor_vit.depth_router import DepthChoice
from dynvit.models.mor_vit.forward_record import ForwardRecord


def routing_losses(choice: DepthChoice | None, record: ForwardRecord, balance: str) -> dict[str, Tensor]:
    """Unweighted terms: those of expert routers in the record, else of what the depth router chose, if there is one."""
    if record.z:
        return {"z": sum(record.z), "aux": sum(record.aux)}
    if choice is None or choice.probs_BMD is None:
        return {}
    probs_BND, chosen_BN = choice.probs_BMD[:, 1:], choice.chosen_BM[:, 1:]
    even = switch_balance(probs_BND, chosen_BN) if balance == "switch" else variance_balance(probs_BND)
    return {"z": z_loss(choice.logits_BMD), "balance": even}


def z_loss(logits: Tensor) -> Tensor:
    """Mean over tokens of (log-sum-exp of the logits)^2; logits ``[..., D]``."""
    return logits.logsumexp(-1).square().mean()


def variance_balance(probs_BND: Tensor) -> Tensor:
    """relu(Var_d(u)), u the mean routing probability of each depth over the patches (population variance)."""
    u_D = probs_BND.mean((0, 1))
    return torch.relu((u_D / u_D.sum()).var(correction=0))


def switch_balance(probs_BND: Tensor, chosen_BN: Tensor) -> Tensor:
    """D sum_l E_l A_l: mean probability times share of the patches that chose depth l; 1 when uniform."""
    depths = probs_BND.shape[-1]
    share_D = F.one_hot(chosen_BN, depths).to(probs_BND).mean((0, 1))
    return depths * (probs_BND.mean((0, 1)) * share_D).sum()
