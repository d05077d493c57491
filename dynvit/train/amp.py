"""In which type matrix products are computed while training and evaluating."""

from __future__ import annotations

import torch


def precision(choice: str, device: str) -> torch.dtype | None:
    """`train.amp` on this device; None for the parameters' own type."""
    if choice == "float16":
        return torch.float16
    if choice == "off" or (choice == "auto" and not device.startswith("cuda")):
        return None
    if choice == "auto" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return None
    return torch.bfloat16
