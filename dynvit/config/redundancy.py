"""Config of the task `redundancy`: `classify`'s, the weights to start with, and what is analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from dynvit.config import classify
from dynvit.config.model import WEIGHTS_FIELD


@dataclass(frozen=True)
class Start:
    """Weights to start with; none: the model's own initialization."""

    weights: str = field(default="", metadata=WEIGHTS_FIELD)
    """A .safetensors or .pth file, identified by its path (other content needs another name); or an arm, as `init`."""
    naming: Literal["own", "trunk", "official"] = "own"
    """Parameter names: the model's, its timm backbone's (the rest keeps its initialization), or the authors'."""


@dataclass(frozen=True)
class Look:
    """What is analysed, on the first validation images."""

    images: int = 256
    """Validation images that are analysed."""
    share: float = 0.3
    """Share of an image's tokens that counts as lowest, and as highest."""
    scores: Sequence[Literal["attention", "own", "norm"]] = ("attention", "own")
    """Class attention, what the model ranks by, the state's length; scores that a model lacks are left out."""
    maps: int = 6
    """Images whose token maps are kept, in maps.npz."""
    map_pixels: int = 112
    """The largest side at which those images are kept."""


@dataclass(frozen=True)
class Config(classify.Config):
    """`classify`'s options, weights to start with, and what to analyse."""

    start: Start = field(default_factory=Start)
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        super().__post_init__()
        look = self.look
        if self.source.epochs:
            raise ValueError(
                f"source.epochs {self.source.epochs}: the task redundancy trains on data alone; train on the source "
                "with the task classify and start from its weights (start.weights)"
            )
        if self.init and self.start.weights:
            raise ValueError(
                f"init {self.init} and start.weights {self.start.weights} both name the weights to start with, and the "
                'second would replace the first: leave one out (init: "" where a recipe sets it)'
            )
        for key, least in (("images", 1), ("maps", 0), ("map_pixels", 1)):
            if (value := getattr(look, key)) < least:
                raise ValueError(f"look.{key} must be >= {least}, got {value}")
        if not 0 < look.share < 1:
            raise ValueError(f"look.share must be above 0 and below 1, got {look.share:g}")

    @property
    def given_weights(self) -> str:
        return self.init or self.start.weights
