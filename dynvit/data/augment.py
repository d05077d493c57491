"""Augmentation of a whole batch on its device, with random numbers from a given generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.config.data import Augment


def augment(x_BCHW: Tensor, options: Augment, generator: torch.Generator) -> Tensor:
    """Translate, then mirror at random, each image independently."""
    if options.shift:
        x_BCHW = translate(x_BCHW, options.shift, generator)
    if options.flip:
        x_BCHW = mirror(x_BCHW, generator)
    return x_BCHW


def translate(x_BCHW: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `pixels` in both directions, filled with zeros: the usual pad-and-crop."""
    b, _, h, w = x_BCHW.shape
    device = x_BCHW.device
    padded = F.pad(x_BCHW, (pixels,) * 4)
    offset_2B = torch.randint(0, 2 * pixels + 1, (2, b), generator=generator, device=device)
    rows_BH = offset_2B[0, :, None] + torch.arange(h, device=device)
    cols_BW = offset_2B[1, :, None] + torch.arange(w, device=device)
    image_B = torch.arange(b, device=device)
    moved_BHWC = padded.permute(0, 2, 3, 1)[image_B[:, None, None], rows_BH[:, :, None], cols_BW[:, None, :]]
    return moved_BHWC.permute(0, 3, 1, 2).contiguous()


def mirror(x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Flip half of the images left to right."""
    chosen_B = torch.rand(x_BCHW.shape[0], generator=generator, device=x_BCHW.device) < 0.5
    return torch.where(chosen_B[:, None, None, None], x_BCHW.flip(3), x_BCHW)


def cut_out(x_BCHW: Tensor, side: int, fill_C: Tensor, generator: torch.Generator) -> Tensor:
    """Cutout (DeVries and Taylor, 2017): fill a square of `side` pixels at a random place of each image."""
    b, _, h, w = x_BCHW.shape
    device = x_BCHW.device
    top_B = torch.randint(0, h, (b, 1), generator=generator, device=device) - side // 2
    left_B = torch.randint(0, w, (b, 1), generator=generator, device=device) - side // 2
    rows_H, cols_W = torch.arange(h, device=device), torch.arange(w, device=device)
    inside_BH = (rows_H >= top_B) & (rows_H < top_B + side)
    inside_BW = (cols_W >= left_B) & (cols_W < left_B + side)
    inside_BHW = inside_BH[:, :, None] & inside_BW[:, None, :]
    return torch.where(inside_BHW[:, None], fill_C.view(1, -1, 1, 1), x_BCHW)
