"""Labels for single patches from a teacher's score maps of the whole image (token labelling, arXiv 2104.10858).

A map holds, for each cell of a coarse grid over the uncropped image, the k best classes and their scores.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor


def read_map(file: Path) -> tuple[Tensor, Tensor]:
    """Scores and class numbers ``[k, H, W]`` of one image, stored as one tensor ``[2, k, H, W]`` by ``torch.save``."""
    stored = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(stored, Tensor) or stored.ndim != 4 or len(stored) != 2:
        raise ValueError(f"{file} holds no label map [2, k, H, W]")
    return stored[0].float(), stored[1].long()


def dense_map(scores_BkHW: Tensor, classes_BkHW: Tensor, num_classes: int) -> Tensor:
    """``[B, K, H, W]``, zero for classes that a cell does not list."""
    B, _, H, W = scores_BkHW.shape
    return scores_BkHW.new_zeros(B, num_classes, H, W).scatter(1, classes_BkHW, scores_BkHW)


def crop_labels(
    map_BKHW: Tensor, box_B4: Tensor, grid: tuple[int, int], flip_B: Tensor | None = None, smoothing: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Label probabilities of the patches ``[B, N, K]`` and of the image ``[B, K]``, for ``model.set_token_labels``.

    box_B4: left, top, right, bottom of the crop as shares of the image; flip_B: crops mirrored afterwards. Each cell
    is the mean of four bilinear samples, as RoI align takes them; the image's label is the mean over its cells. Both
    go through a softmax.
    """
    rows, columns = grid
    x_BW = _samples(box_B4[:, 0], box_B4[:, 2], columns)
    if flip_B is not None:
        x_BW = torch.where(flip_B[:, None], x_BW.flip(1), x_BW)
    y_BH = _samples(box_B4[:, 1], box_B4[:, 3], rows)
    shape = (len(box_B4), 2 * rows, 2 * columns)
    place_BHW2 = torch.stack([x_BW[:, None].expand(shape), y_BH[:, :, None].expand(shape)], -1)
    samples = F.grid_sample(map_BKHW, place_BHW2.to(map_BKHW), padding_mode="border", align_corners=False)
    cells_BKN = F.avg_pool2d(samples, 2).flatten(2)
    return _soft(cells_BKN.transpose(1, 2), smoothing), _soft(cells_BKN.mean(2), smoothing)


def _samples(low_B: Tensor, high_B: Tensor, cells: int) -> Tensor:
    """``[B, 2 cells]`` even places inside the interval, in `grid_sample`'s range from -1 to 1."""
    share = (torch.arange(2 * cells, device=low_B.device) + 0.5) / (2 * cells)
    return 2 * (low_B[:, None] + (high_B - low_B)[:, None] * share) - 1


def _soft(scores: Tensor, smoothing: float) -> Tensor:
    return (1 - smoothing) * scores.softmax(-1) + smoothing / scores.shape[-1]
