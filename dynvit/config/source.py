"""Options of transfer: the data on which a model is trained first."""

from __future__ import annotations

from dataclasses import dataclass, field

from dynvit.config.data import Data


@dataclass(frozen=True)
class Source:
    """Transfer: the model is first trained on other data, with the same options, in the same trial; then its classifier
    is reset and it is trained on `data`."""

    epochs: int = 0
    """So many on the source; 0: none, the model begins as `init` says."""
    data: Data = field(default_factory=Data)
    """What it is trained on first: nothing of it is taken over from the trial's own `data`."""
