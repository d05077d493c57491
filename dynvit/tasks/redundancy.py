"""Task `redundancy`: how token importance moves from layer to layer, in a model trained here or given.

Trains as `classify` does, or with ``train: {epochs: 0, warmup_epochs: 0}`` and `start.weights` evaluates only; then
looks at the model with ``dynvit.instruments``. This file is read without torch to learn the options.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dynvit.context import Context


def _beside(name: str) -> ModuleType:
    """The task next to this one, by its file: importing it by name would import the package, and so torch."""
    spec = spec_from_file_location(f"{__name__}_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"no task {name} beside {__file__}")
    module = sys.modules[spec.name] = module_from_spec(spec)  # its dataclasses look it up there
    spec.loader.exec_module(module)
    return module


_classify = _beside("classify")

REVISION: int = _classify.REVISION + 0
"""classify's, whose numbers these are, plus our own: raised when the same config would give other numbers."""

SMOKE: dict[str, Any] = {**_classify.SMOKE, "look.images": 64, "look.maps": 2}
"""What `--smoke` sets."""


@dataclass(frozen=True)
class Start:
    """Weights that the model begins with; none: its own initialisation."""

    weights: str = ""
    """A .safetensors or .pth file. It is known by its path: another content needs another name."""
    naming: Literal["own", "trunk", "official"] = "own"
    """Whose names of parameters: the model's, its timm trunk's (what the method adds stays as it is), the authors'."""


@dataclass(frozen=True)
class Look:
    """What is looked at, in the first validation images."""

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
class Config(_classify.Config):  # type: ignore[misc,name-defined]
    """`classify`'s options, and what to look at."""

    start: Start = field(default_factory=Start)
    look: Look = field(default_factory=Look)


cautions = _classify.cautions


def run(config: Config, context: Context) -> dict[str, Any]:
    """`classify`'s metrics and those of ``Observation.metrics``; the matrices are events of the last epoch."""
    from dynvit.train.observed import Observed

    return Observed(config, context).run()


work, weigh, inspect = _classify.work, _classify.weigh, _classify.inspect
"""For `studies plan` and `doctor`: what is looked at afterwards takes little beside the training."""
