"""Official checkpoints' key names to ours, where a table is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor


def evo_levit(state_dict: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Evo-LeViT: a flat list of blocks to stages; `c` is the linear map of a normalized layer, `l` of a head.

    `stage_blocks.*` repeats the same tensors under second names and is left out.
    """
    prefixes = _evo_levit_blocks(depths)
    prefixes |= {f"patch_embed.{2 * i}": f"stem.conv{i + 1}" for i in range(4)}
    result = {}
    for name, tensor in state_dict.items():
        if name.startswith("stage_blocks."):
            continue
        for theirs, ours in prefixes.items():
            if name.startswith(theirs + "."):
                name = ours + name[len(theirs) :]
                break
        for theirs, ours in (("proj.1.", "proj.ln."), ("q.1.", "q.ln."), (".c.", ".linear."), (".l.", ".linear.")):
            name = name.replace(theirs, ours)
        if name.split(".")[-1] == "poss":
            name = name[:-4] + "pos_embed"
        result[name] = tensor
    return result


def _evo_levit_blocks(depths: Sequence[int]) -> dict[str, str]:
    """Prefixes in the order of matching: longer ones first within a block."""
    prefixes: dict[str, str] = {}
    block = 0
    for s, depth in enumerate(depths):
        if s:
            down = f"stages.{s}.downsample"
            prefixes[f"blocks.{block}"] = f"{down}.attn_downsample"
            prefixes[f"blocks.{block + 1}.m.0"] = f"{down}.mlp.ln1"
            prefixes[f"blocks.{block + 1}.m.2"] = f"{down}.mlp.ln2"
            block += 2
        for i in range(depth):
            layer = f"stages.{s}.blocks.{i}"
            prefixes[f"blocks.{block}.m1.m"] = f"{layer}.attn"
            prefixes[f"blocks.{block}.m2.m.0"] = f"{layer}.mlp.ln1"
            prefixes[f"blocks.{block}.m2.m.2"] = f"{layer}.mlp.ln2"
            block += 1
    return prefixes
