"""Augmentation of a whole batch on its device, with numbers from a given generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from dynvit.tasks.classify import Augment


def augment(x_BCHW: Tensor, options: Augment, generator: torch.Generator) -> Tensor:
    """Random translation, then random mirroring, each image by its own draw."""
    if options.shift:
        x_BCHW = translate(x_BCHW, options.shift, generator)
    if options.flip:
        x_BCHW = mirror(x_BCHW, generator)
    return x_BCHW


def translate(x_BCHW: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Move each image by up to `pixels` in both directions, zeros coming in: what pad-and-crop does."""
    b, _, h, w = x_BCHW.shape
    device = x_BCHW.device
    padded = F.pad(x_BCHW, (pixels,) * 4)
    offset_2B = torch.randint(0, 2 * pixels + 1, (2, b), generator=generator, device=device)
    rows_BH = offset_2B[0, :, None] + torch.arange(h, device=device)
    columns_BW = offset_2B[1, :, None] + torch.arange(w, device=device)
    image_B = torch.arange(b, device=device)
    moved_BHWC = padded.permute(0, 2, 3, 1)[image_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]
    return moved_BHWC.permute(0, 3, 1, 2).contiguous()


def mirror(x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Swap left and right in half of the images."""
    chosen_B = torch.rand(x_BCHW.shape[0], generator=generator, device=x_BCHW.device) < 0.5
    return torch.where(chosen_B[:, None, None, None], x_BCHW.flip(3), x_BCHW)
