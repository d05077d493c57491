"""Renaming of an official checkpoint's keys to ours; problems are reported in the official names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dynvit.checkpoint.report import raise_problems


def rename(
    official: Mapping[str, Tensor], names: Mapping[str, str], own: Mapping[str, Tensor], model: str
) -> dict[str, Tensor]:
    """Return the state dict with our names.

    names: official -> ours; several official names may map to one of our tensors (shared modules): any of them is
    enough, and those present must be equal. own: our state dict, for the shapes.
    Raises ValueError listing missing, unexpected and mis-shaped keys, and names of one tensor with different values.
    """
    renamed: dict[str, Tensor] = {}
    first: dict[str, str] = {}
    canonical: dict[str, str] = {}
    shapes, differing = [], []
    for key, ours in names.items():
        canonical.setdefault(ours, key)
        value = official.get(key)
        if value is None:
            continue
        if value.shape != own[ours].shape:
            shapes.append(f"{key} {tuple(value.shape)}, ours {tuple(own[ours].shape)}")
        elif ours in renamed and not torch.equal(renamed[ours], value):
            differing.append(f"{key} and {first[ours]}")
        renamed.setdefault(ours, value)
        first.setdefault(ours, key)
    problems = {
        "missing": [canonical[ours] for ours in canonical if ours not in renamed],
        "unexpected": [key for key in official if key not in names],
        "wrong shape": shapes,
        "different values under two names of one shared tensor": differing,
    }
    raise_problems(model, problems)
    return renamed
