"""Options of transfer: the data on which a model is trained first."""

from __future__ import annotations

from dataclasses import dataclass, field

from dynvit.config.data import Data


@dataclass(frozen=True)
class Source:
    """Transfer: the model is first trained on other data, with the same options, in the same trial; then its classifier
    is reset and it is trained on `data`."""

    epochs: int = 0
    """Epochs on the source; 0: no transfer."""
    data: Data = field(default_factory=Data)
    """Data of the first training; nothing is copied from the trial's own `data`."""
