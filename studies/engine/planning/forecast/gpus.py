"""Accelerators that `studies plan` reckons with: what their makers say, and the share of it that training sustains."""

from __future__ import annotations

import re
from dataclasses import dataclass

SUSTAINED = 0.1
"""Share of the peak that small vision transformers reach in training. An assumption: the larger the model, the
more; a measured trial replaces it."""
CORE_TFLOPS = 0.05
"""Of a CPU core in float32, sustained. An assumption too."""

PEAKS = {  # TFLOP/s of 16-bit dense matrix products; GB of memory
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
DEFAULT = "a100"
OWN = re.compile(r"(\d+(?:\.\d+)?):(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Device:
    name: str
    tflops: float
    """Sustained in training, TFLOP/s."""
    memory_gb: float
    told: str
    """How the speed is known, for the reader."""
    named: bool = True
    """Whether the user has named it."""

    @property
    def called(self) -> str:
        """With its article: an h100, a t4."""
        return f"{_article(self.name)} {self.name}"


def find(text: str | None) -> Device:
    """A name of the table, or TFLOPS:GB as measured. ValueError says what there is."""
    name = text or DEFAULT
    own = OWN.fullmatch(name)
    if own:
        tflops, memory = float(own[1]), float(own[2])
        if not tflops or not memory:
            raise ValueError(f"{name}: neither speed nor memory may be zero")
        return Device(f"{memory:g} GB", tflops, memory, f"{tflops:g} TFLOP/s as given")
    if name not in PEAKS:
        raise ValueError(f"no device {name}: {', '.join(PEAKS)}, or TFLOPS:GB such as 60:80 (sustained speed, memory)")
    peak, memory = PEAKS[name]
    rate = SUSTAINED * peak
    return Device(
        name, rate, memory, f"{rate:g} TFLOP/s assumed, {SUSTAINED:.0%} of {_article(name)} {name}'s peak", bool(text)
    )


def _article(name: str) -> str:
    return "an" if name[0] in "ahlr8" or name.startswith(("11 ", "18 ")) else "a"  # as it is spoken
