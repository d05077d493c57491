"""timm's operation Posterize, which at its strongest keeps no bits of an image: newer versions of Pillow refuse."""

from __future__ import annotations

from itertools import chain
from typing import Any


def allow_no_bits(transform: Any) -> None:
    """Let a training transform of timm posterize to no bits. Without it about one image in a thousand ends a training
    with rand-m9-mstd0.5-inc1."""
    for step in transform.transforms:  # of RandAugment and AugMix, then of AutoAugment
        for operation in (*getattr(step, "ops", ()), *chain.from_iterable(getattr(step, "policy", ()))):
            if operation.name.startswith("Posterize"):
                operation.aug_fn = posterize


def posterize(image: Any, bits: int, **options: Any) -> Any:
    """Keep so many bits of each channel of a PIL image; without any it is black, as earlier versions of Pillow have it
    and as images in memory are posterized."""
    from timm.data.auto_augment import posterize as of_timm

    return image.point(lambda value: 0) if bits < 1 else of_timm(image, bits, **options)
