"""What is checked of the data before weights move: a label beyond the classes is an unreadable error on a GPU."""

from __future__ import annotations

from torch import Tensor


def check_labels(target_B: Tensor, classes: int) -> None:
    """ValueError for a label that no output stands for."""
    low, high = int(target_B.min()), int(target_B.max())
    if low < 0 or high >= classes:
        raise ValueError(f"labels go from {low} to {high}, but the set has {classes} classes (0 to {classes - 1})")
