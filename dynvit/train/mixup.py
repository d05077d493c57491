"""Augmentation of a training batch on its device: random erasing, then Mixup and CutMix.

Every random number comes from a stream named by epoch and step, so that a checkpoint need not hold its state. Several
processes mix within their own slices of a batch, with random numbers of their own.
"""

from __future__ import annotations

import math

import torch
from timm.data import Mixup
from torch import Tensor

from dynvit.config.classify import Config
from dynvit.config.train import Mix
from dynvit.rng import own_stream, stream

AREA, RATIO, ATTEMPTS = (0.02, 1 / 3), (0.3, 10 / 3), 10  # of random erasing, timm's defaults


class BatchAugmentation:
    """Called once per batch; the identity if no option is set."""

    def __init__(self, config: Config, classes: int, seed: int, rank: int = 0) -> None:
        options = config.train.mix
        self.erasing, self.off_epoch = config.data.augment.erasing, options.off_epoch
        self.seed, self.rank = seed, (rank,) if rank else ()
        self.mixup = build_mixup(options, config.train.label_smoothing, classes)

    def __call__(self, x_BCHW: Tensor, target_B: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Return images, and classes ``[B]`` or, if mixed, probabilities ``[B, K]`` (label smoothing included)."""
        if self.erasing:
            generator = stream(self.seed, "erase", epoch, step, *self.rank, device=x_BCHW.device)
            x_BCHW = erase(x_BCHW, self.erasing, generator)
        if self.mixup is None:
            return x_BCHW, target_B
        if len(x_BCHW) % 2:
            raise ValueError(f"train.mix needs an even number of images in each process, not {len(x_BCHW)}")
        self.mixup.mixup_enabled = self.off_epoch is None or epoch < self.off_epoch
        with own_stream(self.seed, "mix", epoch, step, *self.rank):
            mixed: tuple[Tensor, Tensor] = self.mixup(x_BCHW.clone(), target_B)  # timm works in place
        return mixed


def build_mixup(options: Mix, smoothing: float, classes: int) -> Mixup | None:
    if not options.mixup and not options.cutmix:
        return None
    return Mixup(
        mixup_alpha=options.mixup,
        cutmix_alpha=options.cutmix,
        prob=options.prob,
        switch_prob=options.switch,
        mode=options.mode,
        label_smoothing=smoothing,
        num_classes=classes,
    )


def erase(x_BCHW: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Fill one box of random area and shape with normal noise, in a `share` of the images, without device syncs.

    The first of ten random boxes that fits into the image is used; if none does the image is unchanged.
    """
    B, _, H, W = x_BCHW.shape
    device = x_BCHW.device
    u_5AB = torch.rand(5, ATTEMPTS, B, generator=generator, device=device)
    area_AB = H * W * (AREA[0] + (AREA[1] - AREA[0]) * u_5AB[0])
    low, high = map(math.log, RATIO)
    ratio_AB = (low + (high - low) * u_5AB[1]).exp()
    rows_AB, columns_AB = (area_AB * ratio_AB).sqrt().round(), (area_AB / ratio_AB).sqrt().round()
    fits_AB = (rows_AB < H) & (columns_AB < W)
    first_1B = fits_AB.int().argmax(0, keepdim=True)
    rows_B, columns_B = rows_AB.gather(0, first_1B)[0], columns_AB.gather(0, first_1B)[0]
    top_B = (u_5AB[2, 0] * (H - rows_B + 1)).floor()
    left_B = (u_5AB[3, 0] * (W - columns_B + 1)).floor()
    chosen_B = (u_5AB[4, 0] < share) & fits_AB.any(0)
    inside_BHW = _within(H, top_B, rows_B)[:, :, None] & _within(W, left_B, columns_B)[:, None, :]
    noise_BCHW = torch.randn(x_BCHW.shape, generator=generator, device=device, dtype=x_BCHW.dtype)
    return torch.where((inside_BHW & chosen_B[:, None, None])[:, None], noise_BCHW, x_BCHW)


def _within(length: int, start_B: Tensor, count_B: Tensor) -> Tensor:
    """``bool[B, length]``."""
    index = torch.arange(length, device=start_B.device)
    return (index >= start_B[:, None]) & (index < (start_B + count_B)[:, None])
