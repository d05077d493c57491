"""Renaming of an official checkpoint's keys to ours; problems are reported in the official names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dynvit.checkpoint.report import raise_problems

BLOCK = {
    "norm1": "attention.norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.proj",
    "coefficient1.bias": "attention.residual.skip",
    "coefficient2.bias": "attention.residual.branch",
    "norm2": "mlp.norm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "coefficient3.bias": "mlp.residual.skip",
    "coefficient4.bias": "mlp.residual.branch",
}
NLL = {
    "norm1": "norm",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
    "coefficient1.bias": "residual.skip",
    "coefficient2.bias": "residual.branch",
}
SAME = ("pos_embed", "pools", "norm", "head")


def sret_names(own: Iterable[str], recursion: int, nlls_per_block: int) -> dict[str, str]:
    """Map szq0214/SReT's keys to ours; parameters that passes share have several keys.

    Pass r of unique block u is listed as block 2 (u recursion + r) of its stage there, its NLL as the next one.
    """
    names: dict[str, str] = {}
    for ours in own:
        part = ours.split(".")
        if part[0] == "stem":
            names[f"patch_embed.{part[2]}{int(part[1]) + 1}.{part[3]}"] = ours
        elif part[0] in SAME:
            names[ours] = ours
        elif part[0] == "stages":
            stage, block, rest = part[1], int(part[3]), ".".join(part[4:])
            passes = range(recursion)
            table, offset = BLOCK, 0
            if part[4] == "nlls":
                rest, table, offset = ".".join(part[6:]), NLL, 1
                passes = passes if nlls_per_block == 1 else range(int(part[5]), int(part[5]) + 1)
            for r in passes:
                i = 2 * (block * recursion + r) + offset
                names[f"transformers.{stage}.blocks.{i}.{_official(rest, table)}"] = ours
    return names


def _official(ours: str, table: Mapping[str, str]) -> str:
    for theirs, prefix in table.items():
        if ours == prefix or ours.startswith(prefix + "."):
            return theirs + ours[len(prefix) :]
    raise KeyError(ours)


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
