"""The GPU that `studies plan` and `studies run` forecast for (`--device`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

UTILIZATION = 0.1
"""Share of the peak that small vision transformers sustain in training; larger models sustain more."""
DEFAULT = "a100"
GPUS = {  # from the vendors' data sheets: TFLOP/s of dense 16-bit matrix products, GB of memory
    "h200": (989, 141),
    "h100": (989, 80),
    "a100": (312, 80),
    "a100-40": (312, 40),
    "l40s": (362, 48),
    "a10": (125, 24),
    "v100": (125, 32),
    "v100-16": (125, 16),
    "rtx4090": (165, 24),
    "rtx3090": (71, 24),
    "t4": (65, 16),
}


@dataclass(frozen=True)
class Gpu:
    name: str
    """With its article: "an h100", "a t4", "an 80 GB"."""
    tflops: float
    """Sustained in training, TFLOP/s."""
    memory_gb: float
    source: str
    """Where the speed comes from, for the user."""


def find(text: str | None) -> Gpu:
    """Return a GPU of the table, or the one given as TFLOPS:GB. ValueError lists the known names."""
    key = text or DEFAULT
    if custom := re.fullmatch(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", key):
        tflops, memory = float(custom[1]), float(custom[2])
        if not tflops or not memory:
            raise ValueError(f"{key}: neither speed nor memory may be zero")
        return Gpu(_with_article(f"{memory:g} GB"), tflops, memory, f"{tflops:g} TFLOP/s as given")
    if key not in GPUS:
        raise ValueError(f"no device {key}: {', '.join(GPUS)}, or TFLOPS:GB such as 60:80 (sustained speed, memory)")
    name, (peak, memory) = _with_article(key), GPUS[key]
    speed = UTILIZATION * peak
    return Gpu(name, speed, memory, f"{speed:g} TFLOP/s assumed, {UTILIZATION:.0%} of {name}'s peak")


def _with_article(name: str) -> str:
    vowel = name[0] in "ahlr8" or name.startswith(("11 ", "18 "))  # as it is pronounced
    return f"an {name}" if vowel else f"a {name}"
