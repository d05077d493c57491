"""Config of the task `redundancy`: `classify`'s, the weights to start with, and what is analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dynvit.config import classify


@dataclass(frozen=True)
class Start:
    """Weights to start with; none: the model's own initialization."""

    weights: str = ""
    """A .safetensors or .pth file. It is known by its path: another content needs another name."""
    naming: Literal["own", "trunk", "official"] = "own"
    """Whose names of parameters: the model's, its timm trunk's (what the method adds stays as it is), the authors'."""


@dataclass(frozen=True)
class Look:
    """What is analysed, on the first validation images."""

    images: int = 256
    share: float = 0.3
    """Of an image's tokens, so many are called lowest, and as many highest."""
    scores: Sequence[Literal["attention", "own", "norm"]] = ("attention", "own")
    """Class attention, what the model ranks by, the state's length; what a model does not have is left out."""
    maps: int = 6
    """Images whose token maps are kept, in maps.npz."""
    map_pixels: int = 112
    """The largest side at which those images are kept."""


@dataclass(frozen=True)
class Config(classify.Config):
    """`classify`'s options, weights to start with, and what to analyse."""

    start: Start = field(default_factory=Start)
    look: Look = field(default_factory=Look)
