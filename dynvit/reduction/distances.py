"""Distances between the tokens of an image and clusters around some of them."""

from __future__ import annotations

import torch
from torch import Tensor

from dynvit.layers.full_precision import at_least_float32, autocast_off
from dynvit.layers.mac_counting import exclude_from_macs
from dynvit.layers.token_gather import gather_tokens


def squared_distances(x_BMD: Tensor) -> Tensor:
    """Of all pairs ``[B, M, M]``, without gradient, at least in float32; the published costs leave them out."""
    x_BMD = at_least_float32(x_BMD.detach())
    square_BM = x_BMD.square().sum(-1)
    with exclude_from_macs(), autocast_off(x_BMD):
        products_BMM = torch.baddbmm(square_BM.unsqueeze(1), x_BMD, x_BMD.transpose(1, 2), alpha=-2)
    return products_BMM.add_(square_BM.unsqueeze(-1)).clamp_(min=0)


def nearest_centre(distance_BMM: Tensor, centre_BK: Tensor) -> Tensor:
    """The number of each token's nearest centre ``int[B, M]``, the first of equal ones; a centre's is its own."""
    near_BM = gather_tokens(distance_BMM, centre_BK).min(1).indices
    number_K = torch.arange(centre_BK.shape[1], device=centre_BK.device)
    return near_BM.scatter(1, centre_BK, number_K.expand_as(centre_BK))
