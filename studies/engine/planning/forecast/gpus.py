"""The GPU that `studies plan` and `studies run` forecast for (`--device`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from studies.engine.planning.forecast.assumptions import DEFAULT_GPU, GPU_UTILIZATION, GPUS

CUSTOM = re.compile(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Gpu:
    name: str
    tflops: float
    """Sustained in training, TFLOP/s."""
    memory_gb: float
    source: str
    """Where the speed comes from, for the user."""
    named: bool = True
    """Whether the user has named it."""

    @property
    def with_article(self) -> str:
        """ "an h100", "a t4"."""
        return f"{_article(self.name)} {self.name}"


def find(text: str | None) -> Gpu:
    """Return a GPU of the table, or the one given as TFLOPS:GB. ValueError lists the known names."""
    name = text or DEFAULT_GPU
    custom = CUSTOM.fullmatch(name)
    if custom:
        tflops, memory = float(custom[1]), float(custom[2])
        if not tflops or not memory:
            raise ValueError(f"{name}: neither speed nor memory may be zero")
        return Gpu(f"{memory:g} GB", tflops, memory, f"{tflops:g} TFLOP/s as given")
    if name not in GPUS:
        raise ValueError(f"no device {name}: {', '.join(GPUS)}, or TFLOPS:GB such as 60:80 (sustained speed, memory)")
    peak, memory = GPUS[name]
    rate = GPU_UTILIZATION * peak
    source = f"{rate:g} TFLOP/s assumed, {GPU_UTILIZATION:.0%} of {_article(name)} {name}'s peak"
    return Gpu(name, rate, memory, source, bool(text))


def _article(name: str) -> str:
    return "an" if name[0] in "ahlr8" or name.startswith(("11 ", "18 ")) else "a"  # as it is pronounced
