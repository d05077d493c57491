"""Key names of szq0214/SReT's checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
