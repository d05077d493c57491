"""The models that on_gpu.py checks and times: those of the claims and of the study `cost`, and every family small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dynvit.trunks import trunk_of

Options = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
SEED = 0
FIRST = (
    "evit_deit_small_patch16_224", "tome_deit_small_patch16_224", "dynamicvit_deit_small_patch16_224",
    "evo_deit_small_patch16_224", "sret_tiny", "mor_vit_tiny_patch16_224", "tpc_deit_small_patch16_224",
    "tpc_swin_tiny_patch4_window7_224", "tpc_lvvit_small", "sret_small", "evo_deit_tiny_patch16_224",
    "evo_levit_128s", "mor_vit_small_patch16_224", "avit_deit_small_patch16_224", "evo_deit_base_patch16_224",
    "evo_levit_256",
)  # fmt: skip
TOY = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 10}
REHEARSED = [
    {"name": "evit_deit_tiny_patch16_224", **TOY, "locations": [1, 2]},
    {"name": "avit_deit_tiny_patch16_224", **TOY, "gate_scale": 2, "gate_center": 2.1},
]
DEIT = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 6, "num_heads": 3, "num_classes": 10}
LVVIT = {"img_size": 32, "stem_strides": [2, 1, 1, 2], "stem_width": 8, "embed_dim": 48, "depth": 6, "num_heads": 3}
LEVIT = {
    "img_size": 32,
    "stem_strides": [2, 2, 1, 1],
    "embed_dim": [32, 48, 64],
    "key_dim": 8,
    "num_heads": [2, 3, 4],
    "depth": [2, 2, 2],
}
SWIN = {"img_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 4, 4], "window_size": 4}
SRET = {"img_size": 64, "base_dim": 8, "heads": [1, 2, 4]}
FAMILIES: list[tuple[str, Options, str, Options]] = [
    ("sret_tiny", SRET, "sret_tiny", {}),
    ("evo_deit_tiny_patch16_224", {**DEIT, "prune_from": 2}, "evo_deit_small_patch16_224", {}),
    ("evo_levit_128s", LEVIT, "evo_levit_128s", {}),
    ("dynamicvit_deit_tiny_patch16_224", {**DEIT, "locations": [1, 2, 4]}, "dynamicvit_deit_small_patch16_224", {}),
    ("dynamicvit_lvvit_small", {**LVVIT, "locations": [1, 2, 4]}, "dynamicvit_lvvit_small", {}),
    ("evit_deit_tiny_patch16_224", {**DEIT, "locations": [1, 3]}, "evit_deit_small_patch16_224", {}),
    ("tome_deit_tiny_patch16_224", {**DEIT, "r": 6}, "tome_deit_small_patch16_224", {}),
    ("avit_deit_tiny_patch16_224", DEIT | {"gate_scale": 2, "gate_center": 2.1}, "avit_deit_small_patch16_224",
     {"gate_scale": 2, "gate_center": 2.1}),
    ("mor_vit_tiny_patch16_224", {**DEIT, "recursion": 4}, "mor_vit_tiny_patch16_224", {}),
    ("mor_vit_tiny_patch16_224", {**DEIT, "recursion": 4, "routing": "expert"}, "mor_vit_small_patch16_224",
     {"routing": "expert"}),
    ("edge_recvit_tiny_patch16_224", {**DEIT, "recursion": 4}, "edge_recvit_tiny_patch16_224", {}),
    ("tpc_deit_tiny_patch16_224", {**DEIT, "keep_rate": 0.7}, "tpc_deit_small_patch16_224", {"keep_rate": 0.7}),
    ("tpc_deit_tiny_patch16_224", {**DEIT, "pause_offset": 0.5, "score_scale": 3.0}, "tpc_deit_small_patch16_224", {}),
    ("tpc_swin_tiny_patch4_window7_224", {**SWIN, "keep_rate": 0.7}, "tpc_swin_tiny_patch4_window7_224",
     {"keep_rate": 0.7}),
    ("tpc_lvvit_small", {**LVVIT, "keep_rate": 0.7}, "tpc_lvvit_small", {"keep_rate": 0.7}),
    ("lvvit_small", LVVIT, "lvvit_small", {}),
]  # fmt: skip
"""Name and options at a small and at a real size."""


def methods(rehearse: bool) -> list[Options]:
    """The timed methods of the study `cost` with their options there: the models of claims first."""
    if rehearse:
        return REHEARSED
    levels = yaml.safe_load((ROOT / "studies/cost.yaml").read_text())["parts"]["speed"]["axes"]["model"]["values"]
    found = [
        {key.removeprefix("model."): v for key, v in level.items() if "trunk" not in key} for level in levels.values()
    ]
    by_name = {name: {"name": name} for name in FIRST} | {options["name"]: options for options in found}
    return [options for options in by_name.values() if trunk_of(options)]


def small_models() -> list[Options]:
    return [{"name": name, **options} for name, options, _, _ in FAMILIES]
