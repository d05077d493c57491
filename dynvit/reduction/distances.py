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


def lengths(x_BND: Tensor) -> Tensor:
    """Of the tokens ``[B, N]``, at least in float32."""
    return at_least_float32(x_BND).norm(dim=-1)


def most_alike(x_BND: Tensor, length_BN: Tensor, gone_BR: Tensor, kept_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Of each token that goes the largest cosine to one that is kept ``[B, R]``, and the first such ``int[B, R]``.

    length_BN: of the tokens, not 0. The few that go meet all tokens, so that the many that are kept are not copied.
    """
    x_BND = at_least_float32(x_BND)
    with exclude_from_macs(), autocast_off(x_BND):
        product_BRN = gather_tokens(x_BND, gone_BR).matmul(x_BND.transpose(1, 2))
    kept_BRK = kept_BK.unsqueeze(1).expand(-1, gone_BR.shape[1], -1)
    best_BR, into_BR = (product_BRN / length_BN.unsqueeze(1)).gather(2, kept_BRK).max(2)
    return best_BR / length_BN.gather(1, gone_BR), into_BR


def nearest_centre(distance_BMM: Tensor, centre_BK: Tensor) -> Tensor:
    """The number of each token's nearest centre ``int[B, M]``, the first of equal ones; a centre's is its own."""
    near_BM = gather_tokens(distance_BMM, centre_BK).min(1).indices
    number_K = torch.arange(centre_BK.shape[1], device=centre_BK.device)
    return near_BM.scatter(1, centre_BK, number_K.expand_as(centre_BK))
