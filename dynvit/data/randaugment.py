"""RandAugment of a whole batch on its device, as timm applies it to single images (rand-m9-n2-mstd0.5-inc1).

Each of `layers` times every image draws one of fifteen operations, which half of the time is applied, with a
magnitude of 0 to 10 drawn around `magnitude`. Draws come from the CPU, so which images share an operation is known
without waiting for the device. Interpolation is bilinear, where timm draws bilinear or bicubic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynvit.config.auto_augment import in_memory_error, policy_parts

MAX_LEVEL = 10.0
FILL = 128.0
"""Value of pixels from outside an image that is rotated, sheared or translated."""
UNIFORM = 100.0
"""A deviation above it stands for magnitudes that are equally likely."""


@dataclass(frozen=True)
class Policy:
    magnitude: float = 9.0
    layers: int = 2
    std: float = 0.0
    probability: float = 0.5

    @staticmethod
    def parse(text: str) -> Policy:
        """Parse timm's notation. Raises ValueError for what is not supported here."""
        if wrong := in_memory_error(text):
            raise ValueError(f"data.augment.auto: {wrong}; for others set data.in_memory to never")
        given = {key: float(value) for key, value in policy_parts(text)[1].items()}
        std = given.get("mstd", 0.0)
        noise = math.inf if std > UNIFORM else std
        return Policy(given.get("m", MAX_LEVEL), int(given.get("n", 2)), noise, given.get("p", 0.5))

    def apply(self, x_BCHW: Tensor, generator: torch.Generator) -> Tensor:
        """Apply to ``uint8[B, C, H, W]``; returns the same type and shape."""
        x_BCHW, b = x_BCHW.float(), len(x_BCHW)
        for _ in range(self.layers):
            choice_B = torch.randint(0, len(OPERATIONS), (b,), generator=generator)
            done_B = torch.rand(b, generator=generator) < self.probability
            level_B = self._draw_levels(b, generator)
            sign_B = torch.randint(0, 2, (b,), generator=generator) * 2.0 - 1.0
            for i, operation in enumerate(OPERATIONS):
                index_N = ((choice_B == i) & done_B).nonzero().flatten()
                if len(index_N):
                    on_device_N = index_N.to(x_BCHW.device, non_blocking=True)
                    level_N, sign_N = (v[index_N].to(x_BCHW.device, non_blocking=True) for v in (level_B, sign_B))
                    new_NCHW = operation(x_BCHW[on_device_N], level_N.view(-1, 1, 1, 1), sign_N.view(-1, 1, 1, 1))
                    x_BCHW = x_BCHW.index_copy(0, on_device_N, new_NCHW.round().clamp(0, 255))
        return x_BCHW.to(torch.uint8)

    def _draw_levels(self, b: int, generator: torch.Generator) -> Tensor:
        if math.isinf(self.std):
            drawn_B = torch.rand(b, generator=generator) * self.magnitude
            return drawn_B.clamp(max=MAX_LEVEL) / MAX_LEVEL
        noise_B = torch.randn(b, generator=generator) * self.std
        return (self.magnitude + noise_B).clamp(0, MAX_LEVEL) / MAX_LEVEL


Operation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""x_NCHW of 0..255, level_N111 of 0..1, sign_N111 -> x_NCHW."""


def gray(x_NCHW: Tensor) -> Tensor:
    """Return the luminance by PIL's weights."""
    if x_NCHW.shape[1] != 3:
        return x_NCHW.mean(1, keepdim=True).round()
    weight_C = torch.tensor([0.299, 0.587, 0.114], device=x_NCHW.device).view(1, 3, 1, 1)
    return (x_NCHW * weight_C).sum(1, keepdim=True).round()


def blend(other_NCHW: Tensor, x_NCHW: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    """Interpolate towards, or extrapolate away from, another image by up to 0.9."""
    factor = (1 + sign * level * 0.9).clamp(min=0.1)
    return (other_NCHW + factor * (x_NCHW - other_NCHW)).clamp(0, 255)


def auto_contrast(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) * (255 / (high - low).clamp(min=1)), x)


def equalize(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import equalize_image

    return equalize_image(x.to(torch.uint8)).float()


def invert(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return 255 - x


def posterize(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    step = torch.exp2(4 + (level * 4).floor())  # keeps four bits or fewer
    return (x / step).floor() * step


def solarize(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return torch.where(x < 256 - (level * 256).floor(), x, 255 - x)


def solarize_add(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return torch.where(x < 128, (x + (level * 110).floor()).clamp(max=255), x)


def color(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return blend(gray(x).expand_as(x), x, level, sign)


def contrast(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return blend(gray(x).mean((1, 2, 3), keepdim=True).round().expand_as(x), x, level, sign)


def brightness(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return blend(torch.zeros_like(x), x, level, sign)


def sharpness(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    kernel = torch.ones(3, 3, device=x.device)
    kernel[1, 1] = 5
    c = x.shape[1]
    smooth = x.clone()  # the border stays
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(x, (kernel / kernel.sum()).expand(c, 1, 3, 3), groups=c).round()
    return blend(smooth, x, level, sign)


def _warp(x_NCHW: Tensor, rows: list[list[Tensor | float]]) -> Tensor:
    """Resample each image by its 2 x 3 affine matrix, in coordinates from -1 to 1."""
    n = len(x_NCHW)
    flat = [
        v.flatten() if isinstance(v, Tensor) else torch.full((n,), v, device=x_NCHW.device) for r in rows for v in r
    ]
    grid = F.affine_grid(torch.stack(flat, 1).view(n, 2, 3), list(x_NCHW.shape), align_corners=False)
    return F.grid_sample(x_NCHW - FILL, grid, align_corners=False) + FILL


def rotate(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    angle = sign * level * math.radians(30)
    skew = x.shape[2] / x.shape[3]
    return _warp(x, [[angle.cos(), -angle.sin() * skew, 0.0], [angle.sin() / skew, angle.cos(), 0.0]])


def shear_x(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    by = sign * level * 0.3 * (x.shape[2] / x.shape[3])  # the upper left corner stays, as in PIL
    return _warp(x, [[1.0, by, by], [0.0, 1.0, 0.0]])


def shear_y(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    by = sign * level * 0.3 * (x.shape[3] / x.shape[2])
    return _warp(x, [[1.0, 0.0, 0.0], [by, 1.0, by]])


def translate_x(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return _warp(x, [[1.0, 0.0, sign * level * 0.9], [0.0, 1.0, 0.0]])  # 0.45 of the width; -1 to 1 is twice that


def translate_y(x: Tensor, level: Tensor, sign: Tensor) -> Tensor:
    return _warp(x, [[1.0, 0.0, 0.0], [0.0, 1.0, sign * level * 0.9]])


OPERATIONS: tuple[Operation, ...] = (
    auto_contrast, equalize, invert, rotate, posterize, solarize, solarize_add, color, contrast, brightness, sharpness,
    shear_x, shear_y, translate_x, translate_y,
)  # fmt: skip
