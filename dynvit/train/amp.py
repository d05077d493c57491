"""Automatic mixed precision."""

from __future__ import annotations

import torch


def amp_dtype(choice: str, device: str) -> torch.dtype | None:
    """Return the autocast type for `train.amp` on this device; None if autocast is off."""
    if choice == "float16":
        return torch.float16
    if choice == "off" or (choice == "auto" and not device.startswith("cuda")):
        return None
    if choice == "auto" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return None
    return torch.bfloat16
