"""Regularization of the pause and restart probabilities: a blur over the patch grid, and a prior over depth (TPC-ViT).

Both are reconstructions of the paper's "token distribution regularizer".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynvit.layers.mac_counting import exclude_from_macs

TINY = 1e-12  # keeps the share of breaks defined where nothing breaks


def blur_matrix(size: int, sigma: float, like: Tensor) -> Tensor:
    """``[size, size]``: three Gaussian taps along one side of the grid, the border repeated.

    Repeating the border makes the matrix doubly stochastic: constants and the mean are kept.
    """
    side = math.exp(-0.5 / sigma**2)
    index = torch.arange(size, device=like.device)
    matrix = torch.zeros(size, size, dtype=like.dtype, device=like.device)
    for step, weight in ((-1, side), (0, 1.0), (1, side)):
        source = (index + step).clamp(0, size - 1)
        matrix = matrix + (source[:, None] == index) * (weight / (1 + 2 * side))
    return matrix


class Blur:
    """``P <- (1 - eta) P + eta (G * P)`` on a patch grid; G is the 3 x 3 Gaussian, applied row- and column-wise."""

    def __init__(self, grid: tuple[int, int], strength: float, sigma: float, like: Tensor) -> None:
        self.grid, self.strength = grid, strength
        self.rows_HH = blur_matrix(grid[0], sigma, like)
        self.columns_WW = self.rows_HH if grid[0] == grid[1] else blur_matrix(grid[1], sigma, like)

    def __call__(self, values_BSN: Tensor) -> Tensor:
        """values_BSN: any number S of maps per image, N = H W in raster order."""
        map_BSHW = values_BSN.unflatten(-1, self.grid)
        with exclude_from_macs():  # a fixed filter of a few probabilities, no layer of the network
            blurred_BSHW = self.rows_HH @ map_BSHW @ self.columns_WW
        return map_BSHW.lerp(blurred_BSHW, self.strength).flatten(-2)


def depth_target(depth: int, like: Tensor) -> Tensor:
    """log T ``[depth]``: a normal density over the layers, mean 2/3 of the depth, sd 1, normalized to sum 1."""
    layer = torch.arange(depth, dtype=like.dtype, device=like.device)
    return (-0.5 * (layer - 8 * depth / 12) ** 2).log_softmax(0)


def prior_loss(breaks_L: Tensor) -> Tensor:
    """KL(q || T): q is the share of each layer in all breaks, T the depth target.

    breaks_L: mean break probability of each layer over images and patch tokens (the class token has none).
    """
    q_L = (breaks_L + TINY) / (breaks_L + TINY).sum()
    return (q_L * (q_L.log() - depth_target(len(q_L), q_L))).sum()
